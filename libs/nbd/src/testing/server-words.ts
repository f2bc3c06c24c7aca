/** What a server says, as bytes, right or wrong: for tests of the machines and of the client against liars. */
import { MAGIC } from '../protocol/values.ts';

const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};
export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
export const u64 = (value: bigint | number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

export const newstyleGreeting = (flags = 3): Buffer =>
  Buffer.concat([u64(MAGIC.greeting), u64(MAGIC.option), u16(flags)]);

export const oldstyleGreeting = (size: number, flags: number): Buffer =>
  Buffer.concat([u64(MAGIC.greeting), u64(MAGIC.oldstyle), u64(size), u32(flags), Buffer.alloc(124)]);

export const optionReply = (option: number, type: number, data: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([u64(MAGIC.optionReply), u32(option), u32(type), u32(data.length), data]);

export const infoExport = (size: number | bigint, flags: number): Buffer =>
  Buffer.concat([u16(0), u64(size), u16(flags)]);

export const infoBlockSize = (minimum: number, preferred: number, maximum: number): Buffer =>
  Buffer.concat([u16(3), u32(minimum), u32(preferred), u32(maximum)]);

export const metaContext = (id: number, name: string): Buffer => Buffer.concat([u32(id), Buffer.from(name)]);

export const exportNameReply = (size: number, flags: number, zeroes: boolean): Buffer =>
  Buffer.concat([u64(size), u16(flags), Buffer.alloc(zeroes ? 124 : 0)]);

export const simpleReply = (handle: number | bigint, error = 0, data: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([u32(MAGIC.simpleReply), u32(error), u64(handle), data]);

/** One chunk; `flags` 1 marks the last. */
export const chunk = (
  handle: number | bigint,
  flags: number,
  type: number,
  payload: Uint8Array = Buffer.alloc(0),
  claimedLength = payload.length,
): Buffer =>
  Buffer.concat([
    u32(MAGIC.structuredReply),
    u16(flags),
    u16(type),
    u64(handle),
    u32(claimedLength),
    payload,
  ]);

export const data = (offset: number, bytes: Uint8Array): Buffer => Buffer.concat([u64(offset), bytes]);
export const hole = (offset: number, length: number): Buffer => Buffer.concat([u64(offset), u32(length)]);
export const status = (
  contextId: number,
  runs: readonly (readonly [length: number, flags: number])[],
): Buffer => Buffer.concat([u32(contextId), ...runs.flatMap(([length, flags]) => [u32(length), u32(flags)])]);
export const errorText = (value: number, message = '', rest: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([u32(value), u16(Buffer.byteLength(message)), Buffer.from(message), rest]);

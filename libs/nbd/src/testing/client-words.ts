/** What a client says, as bytes, right or wrong: for tests of the server against strangers. */
import { MAGIC } from '../protocol/values.ts';
import { u16, u32, u64 } from '../server/option-words.ts';

const big = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};

export const clientFlags = (flags = 3): Buffer => u32(flags);
export const option = (number: number, data: Uint8Array = Buffer.alloc(0), claimed = data.length): Buffer =>
  Buffer.concat([big(MAGIC.option), u32(number), u32(claimed), data]);
export const named = (name: string): Buffer =>
  Buffer.concat([u32(Buffer.byteLength(name)), Buffer.from(name)]);
export const infoAsked = (name: string, ...kinds: readonly number[]): Buffer =>
  Buffer.concat([named(name), u16(kinds.length), ...kinds.map(u16)]);
export const contextsAsked = (name: string, ...queries: readonly string[]): Buffer =>
  Buffer.concat([named(name), u32(queries.length), ...queries.map(named)]);

export interface AskedOf {
  readonly command: number;
  readonly flags?: number;
  readonly cookie?: bigint;
  readonly offset?: number;
  readonly length?: number;
  readonly payload?: Uint8Array;
}

export const request = ({
  command,
  flags = 0,
  cookie = 1n,
  offset = 0,
  length = 0,
  payload,
}: AskedOf): Buffer =>
  Buffer.concat([
    u32(MAGIC.request),
    u16(flags),
    u16(command),
    big(cookie),
    u64(offset),
    u32(length),
    payload ?? Buffer.alloc(0),
  ]);

/** An option's reply, taken apart. */
export interface OptionAnswer {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

export function optionAnswers(bytes: Buffer): OptionAnswer[] {
  const answers: OptionAnswer[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.readBigUInt64BE(at) !== MAGIC.optionReply) throw new Error(`no option reply at ${at}`);
    const length = bytes.readUInt32BE(at + 16);
    answers.push({
      option: bytes.readUInt32BE(at + 8),
      type: bytes.readUInt32BE(at + 12),
      data: bytes.subarray(at + 20, at + 20 + length),
    });
    at += 20 + length;
  }
  return answers;
}

/** A chunk of a structured reply, taken apart. */
export interface ChunkAnswer {
  readonly cookie: bigint;
  readonly isLast: boolean;
  readonly type: number;
  readonly payload: Buffer;
}

export function chunkAnswers(bytes: Buffer): ChunkAnswer[] {
  const answers: ChunkAnswer[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.readUInt32BE(at) !== MAGIC.structuredReply) throw new Error(`no chunk at ${at}`);
    const length = bytes.readUInt32BE(at + 16);
    answers.push({
      isLast: (bytes.readUInt16BE(at + 4) & 1) !== 0,
      type: bytes.readUInt16BE(at + 6),
      cookie: bytes.readBigUInt64BE(at + 8),
      payload: bytes.subarray(at + 20, at + 20 + length),
    });
    at += 20 + length;
  }
  return answers;
}

/**
 * Options as bytes: reading what a client asks, and the replies. What is asked is not trusted: every length is checked against the bytes
 * that are there. Source: doc/proto.md, sections "Fixed newstyle negotiation", "Option types", "Option reply types".
 */
import { isOptionError, MAGIC, OPTION_REPLY, STRING_BYTES_MAX } from '../protocol/values.ts';

export function optionReply(option: number, type: number, ...data: readonly Uint8Array[]): Uint8Array {
  const header = Buffer.alloc(20);
  header.writeBigUInt64BE(MAGIC.optionReply, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(
    data.reduce((sum, part) => sum + part.length, 0),
    16,
  );
  return Buffer.concat([header, ...data]);
}

/** A final reply; the words of an error are for people. */
export const finalReply = (option: number, type: number, words = ''): readonly Uint8Array[] => [
  optionReply(option, type, Buffer.from(isOptionError(type) ? words : '', 'utf8')),
];

export const acknowledged = (option: number): Uint8Array => optionReply(option, OPTION_REPLY.ack);

export const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};
export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
export const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

/** The data of an option that does not hold what it must. */
export class Malformed extends Error {
  override readonly name = 'Malformed';
}

/** Takes an option's data apart from front to back. Throws `Malformed`. */
export class OptionData {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u16(): number {
    return this.#take(2, 'a number').readUInt16BE(0);
  }

  u32(): number {
    return this.#take(4, 'a number').readUInt32BE(0);
  }

  /** A 32-bit length and as many bytes of UTF-8. */
  text(what: string): string {
    const length = this.u32();
    if (length > STRING_BYTES_MAX)
      throw new Malformed(`${what} of ${length} bytes is longer than any may be`);
    return this.#take(length, what).toString('utf8');
  }

  end(): void {
    if (this.left > 0) throw new Malformed(`${this.left} bytes are left over`);
  }

  #take(length: number, what: string): Buffer {
    if (length > this.left) throw new Malformed(`${what} is cut off`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

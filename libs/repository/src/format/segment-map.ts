/**
 * The bytes of a segment map file (docs/format.md, "Segment map"): one disk, in order, without offsets, so that a map
 * cannot overlap or leave a gap. Written and read as a stream: memory is bounded by one run of chunks.
 */
import { Fault } from '@backhaul/kernel';
import type { Segment } from '../repository.ts';
import { CHUNK_BYTES_MAX } from './bounds.ts';

const MAGIC = 0x4248534d; // "BHSM"
const VERSION = 1;
const HEADER_BYTES = 16;
const RECORD_BYTES = 16;
const DIGEST_BYTES = 32;

const ZERO = 1;
const CHUNKS = 2;
const END = 3;

/** Longer runs are cut here, so that a reader needs no more than 128 KiB for one. */
export const RUN_MAX = 4096;
const FLUSH_BYTES = 64 * 1024;

/** The file's bytes, in pieces. `segments` must be in their one canonical form (see segments.ts): equal disks give equal files. */
export async function* encodeSegmentMap(
  sizeBytes: number,
  segments: AsyncIterable<Segment>,
): AsyncGenerator<Uint8Array> {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(MAGIC, 0);
  header.writeUInt8(VERSION, 4);
  header.writeBigUInt64BE(BigInt(sizeBytes), 8);
  let pending: Uint8Array[] = [header];
  let pendingBytes = HEADER_BYTES;
  let run: { length: number; chunkOffset: number; digests: string[] } | undefined;
  let count = 0;

  const push = (bytes: Uint8Array): void => {
    pending.push(bytes);
    pendingBytes += bytes.length;
  };
  const endRun = (): void => {
    if (run === undefined) return;
    push(record(CHUNKS, run.digests.length, (BigInt(run.length) << 32n) | BigInt(run.chunkOffset)));
    push(Buffer.from(run.digests.join(''), 'hex'));
    run = undefined;
  };

  for await (const segment of segments) {
    count += 1;
    if (segment.digest === null) {
      endRun();
      push(record(ZERO, 0, BigInt(segment.length)));
    } else if (
      run !== undefined &&
      run.length === segment.length &&
      run.chunkOffset === segment.chunkOffset &&
      run.digests.length < RUN_MAX
    ) {
      run.digests.push(segment.digest);
    } else {
      endRun();
      run = { length: segment.length, chunkOffset: segment.chunkOffset, digests: [segment.digest] };
    }
    if (pendingBytes >= FLUSH_BYTES) {
      yield Buffer.concat(pending);
      pending = [];
      pendingBytes = 0;
    }
  }
  endRun();
  push(record(END, 0, BigInt(count)));
  yield Buffer.concat(pending);
}

function record(kind: number, count: number, value: bigint): Uint8Array {
  const bytes = Buffer.alloc(RECORD_BYTES);
  bytes.writeUInt8(kind, 0);
  bytes.writeUInt32BE(count, 4);
  bytes.writeBigUInt64BE(value, 8);
  return bytes;
}

/**
 * The segments of a map file, given in pieces of any size. Checks all that the format promises of a map by itself, and
 * throws a permanent Fault with the reason; that the bytes are the ones that were written is for the digest to say.
 */
export async function* decodeSegmentMap(
  sizeBytes: number,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Segment> {
  const bytes = new ByteReader(pieces);
  const header = await bytes.take(HEADER_BYTES, 'its header');
  if (header.readUInt32BE(0) !== MAGIC) throw bad('does not start as a segment map does');
  if (header.readUInt8(4) !== VERSION) {
    throw bad(`is of version ${header.readUInt8(4)}, which is not known here`);
  }
  const written = Number(header.readBigUInt64BE(8));
  if (written !== sizeBytes) throw bad(`is of a disk of ${written} bytes, not of ${sizeBytes}`);

  let offset = 0;
  let count = 0;
  for (;;) {
    const head = await bytes.take(RECORD_BYTES, `the record after offset ${offset}`);
    const kind = head.readUInt8(0);
    const runLength = head.readUInt32BE(4);
    if (kind === ZERO) {
      const length = Number(head.readBigUInt64BE(8));
      if (length === 0 || length > sizeBytes - offset)
        throw bad(`has zeros beyond the disk at offset ${offset}`);
      yield { offset, length, digest: null, chunkOffset: 0 };
      offset += length;
      count += 1;
    } else if (kind === CHUNKS) {
      const length = head.readUInt32BE(8);
      const chunkOffset = head.readUInt32BE(12);
      if (runLength === 0 || runLength > RUN_MAX || length === 0 || chunkOffset + length > CHUNK_BYTES_MAX) {
        throw bad(`has an impossible run of chunks at offset ${offset}`);
      }
      if (runLength * length > sizeBytes - offset)
        throw bad(`has chunks beyond the disk at offset ${offset}`);
      const digests = await bytes.take(runLength * DIGEST_BYTES, `the digests of offset ${offset}`);
      const hex = digests.toString('hex');
      for (let i = 0; i < runLength; i += 1) {
        yield { offset, length, digest: hex.slice(i * 64, i * 64 + 64), chunkOffset };
        offset += length;
      }
      count += runLength;
    } else if (kind === END) {
      if (offset !== sizeBytes) throw bad(`ends at offset ${offset} of ${sizeBytes}`);
      if (Number(head.readBigUInt64BE(8)) !== count)
        throw bad(`has ${count} segments, not as many as written`);
      if (!(await bytes.atEnd())) throw bad('goes on after its end');
      return;
    } else {
      throw bad(`has a record of kind ${kind} at offset ${offset}, which is not known here`);
    }
  }
}

/** Takes exact numbers of bytes from pieces of any size. */
class ByteReader {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #left: Buffer = Buffer.alloc(0);

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  /** A copy: the pieces' memory may be used again. */
  async take(length: number, what: string): Promise<Buffer> {
    const taken = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      if (this.#left.length === 0 && !(await this.#next())) throw bad(`is cut off in ${what}`);
      const part = this.#left.subarray(0, length - filled);
      taken.set(part, filled);
      filled += part.length;
      this.#left = this.#left.subarray(part.length);
    }
    return taken;
  }

  async atEnd(): Promise<boolean> {
    return this.#left.length === 0 && !(await this.#next());
  }

  async #next(): Promise<boolean> {
    const { value, done } = await this.#pieces.next();
    if (done === true) return false;
    this.#left = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return true;
  }
}

const bad = (what: string): Fault =>
  new Fault(`the segment map ${what}`, { permanent: true, code: 'MapDamaged' });

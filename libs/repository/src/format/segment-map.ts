/**
 * The bytes of a segment map file (docs/format.md, "Segment map"): one disk, in order, without offsets, so that a map
 * cannot overlap or leave a gap. Written and read as a stream: memory is bounded by one run of chunks.
 */
import type { Segment } from '../repository.ts';
import {
  DIGEST_BYTES,
  HEADER_BYTES,
  MAP_MAGIC,
  MAP_VERSION,
  mapFault,
  RECORD_BYTES,
  RECORD_KIND,
  RUN_MAX,
  readHeader,
  readRecord,
} from './map-records.ts';

/** Segments are handed on in lists of about so many: one by one, waiting would cost more than reading. */
const LIST_SEGMENTS = 1024;
const PIECE_BYTES = 64 * 1024;

/** The file's bytes, in pieces. `segments` must be in their one canonical form (see segments.ts): equal disks give equal files. */
export async function* encodeSegmentMap(
  sizeBytes: number,
  segments: AsyncIterable<Segment>,
): AsyncGenerator<Uint8Array> {
  let piece = new Piece();
  let run: { length: number; chunkOffset: number; digests: string[] } | undefined;
  let count = 0;
  const endRun = (): void => {
    if (run !== undefined) piece.run(run.length, run.chunkOffset, run.digests);
    run = undefined;
  };

  piece.header(sizeBytes);
  for await (const segment of segments) {
    count += 1;
    if (segment.digest === null) {
      endRun();
      piece.record(RECORD_KIND.zero, 0, segment.length);
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
    if (piece.length >= PIECE_BYTES) {
      yield piece.bytes();
      piece = new Piece();
    }
  }
  endRun();
  piece.record(RECORD_KIND.end, 0, count);
  yield piece.bytes();
}

/** A part of the file in the making. */
class Piece {
  readonly #bytes = Buffer.alloc(PIECE_BYTES + 2 * RECORD_BYTES + RUN_MAX * DIGEST_BYTES);
  length = 0;

  header(sizeBytes: number): void {
    this.#bytes.writeUInt32BE(MAP_MAGIC, 0);
    this.#bytes.writeUInt8(MAP_VERSION, 4);
    this.#bytes.writeBigUInt64BE(BigInt(sizeBytes), 8);
    this.length = HEADER_BYTES;
  }

  record(kind: number, count: number, value: number): void {
    this.#bytes.writeUInt8(kind, this.length);
    this.#bytes.writeUInt32BE(count, this.length + 4);
    this.#bytes.writeUInt32BE(Math.floor(value / 2 ** 32), this.length + 8);
    this.#bytes.writeUInt32BE(value % 2 ** 32, this.length + 12);
    this.length += RECORD_BYTES;
  }

  run(length: number, chunkOffset: number, digests: readonly string[]): void {
    this.record(RECORD_KIND.chunks, digests.length, 0);
    this.#bytes.writeUInt32BE(length, this.length - 8);
    this.#bytes.writeUInt32BE(chunkOffset, this.length - 4);
    for (const digest of digests) this.length += this.#bytes.write(digest, this.length, 'hex');
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

/**
 * The segments of a map file, given in pieces of any size, in lists of bounded length. Checks all that the format promises of a map by itself, and throws a permanent Fault with the reason; that the bytes are the ones
 * that were written is for the digest to say.
 */
export async function* decodeSegmentMap(
  sizeBytes: number,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Segment[]> {
  const bytes = new ByteReader(pieces);
  try {
    yield* records(sizeBytes, bytes);
  } finally {
    // Also when the reader stops early: the pieces may hold an open file.
    await bytes.close();
  }
}

async function* records(sizeBytes: number, bytes: ByteReader): AsyncGenerator<Segment[]> {
  readHeader(await bytes.take(HEADER_BYTES, 'its header'), sizeBytes);

  let offset = 0;
  let count = 0;
  let list: Segment[] = [];
  for (;;) {
    if (list.length >= LIST_SEGMENTS) {
      yield list;
      list = [];
    }
    const head =
      bytes.ready(RECORD_BYTES) ?? (await bytes.take(RECORD_BYTES, `the record at offset ${offset}`));
    const record = readRecord(head, 0, offset, sizeBytes);
    if (record.kind === 'zero') {
      list.push({ offset, length: record.length, digest: null, chunkOffset: 0 });
      offset += record.length;
      count += 1;
    } else if (record.kind === 'chunks') {
      const { length, chunkOffset } = record;
      const size = record.count * DIGEST_BYTES;
      const digests = bytes.ready(size) ?? (await bytes.take(size, `the digests of offset ${offset}`));
      for (let i = 0; i < record.count; i += 1) {
        const digest = digests.toString('hex', i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES);
        list.push({ offset, length, digest, chunkOffset });
        offset += length;
      }
      count += record.count;
    } else {
      if (offset !== sizeBytes) throw mapFault(`ends at offset ${offset} of ${sizeBytes}`);
      if (record.segments !== count) throw mapFault(`has ${count} segments, not as many as written`);
      if (!(await bytes.atEnd())) throw mapFault('goes on after its end');
      if (list.length > 0) yield list;
      return;
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

  /** The next bytes when they are at hand in one piece; good until the next call. */
  ready(length: number): Buffer | undefined {
    if (this.#left.length < length) return undefined;
    const taken = this.#left.subarray(0, length);
    this.#left = this.#left.subarray(length);
    return taken;
  }

  /** The next bytes, from as many pieces as it takes: a copy, because a piece's memory may be used again. */
  async take(length: number, what: string): Promise<Buffer> {
    const taken = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      if (this.#left.length === 0 && !(await this.#next())) throw mapFault(`is cut off in ${what}`);
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

  async close(): Promise<void> {
    await this.#pieces.return?.();
  }

  async #next(): Promise<boolean> {
    const { value, done } = await this.#pieces.next();
    if (done === true) return false;
    this.#left = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return true;
  }
}

/**
 * The bytes of a chunk file (docs/format.md, "Chunk file"): a header of 16 bytes and a body. Pure; the expensive half
 * runs on worker threads. What is read is not trusted: lengths are bounded before anything is allocated for them.
 */
import { hash } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { Fault, KiB } from '@backhaul/kernel';
import { CHUNK_BYTES_MAX } from './bounds.ts';

export const CHUNK_HEADER_BYTES = 16;
/** A body is never longer than the plain bytes: what does not shrink is stored as it is. */
export const CHUNK_FILE_BYTES_MAX = CHUNK_HEADER_BYTES + CHUNK_BYTES_MAX;

const MAGIC = 0x42484348; // "BHCH"
const VERSION = 1;
const STORED = 0;
const ZSTD = 1;

/** Compressed data must be worth unpacking: below 3 % gained, the plain bytes are stored. */
const WORTH_KEEPING = 0.97;

const ZEROES = Buffer.alloc(CHUNK_BYTES_MAX);

/** Stops at the first byte that is not zero, so that it costs nothing for other data. */
export const isZero = (data: Uint8Array): boolean =>
  ZEROES.compare(data, 0, data.length, 0, data.length) === 0;

export const digestOf = (data: Uint8Array): string => hash('sha256', data, 'hex');

function header(algorithm: number, plainBytes: number, bodyBytes: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.from(new ArrayBuffer(CHUNK_HEADER_BYTES));
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt8(VERSION, 4);
  bytes.writeUInt8(algorithm, 5);
  bytes.writeUInt32BE(plainBytes, 8);
  bytes.writeUInt32BE(bodyBytes, 12);
  return bytes;
}

/** The header to write before the plain bytes themselves. */
export const storedHeader = (plainBytes: number): Uint8Array<ArrayBuffer> =>
  header(STORED, plainBytes, plainBytes);

/** Header and zstd frame, or undefined when compression gains too little and the plain bytes are to be stored. */
export function compressed(plain: Uint8Array, level: number): Uint8Array<ArrayBuffer>[] | undefined {
  if (!looksCompressible(plain)) return undefined;
  const body = zstd(plain, level);
  if (body.length > plain.length * WORTH_KEEPING) return undefined;
  return [header(ZSTD, plain.length, body.length), body];
}

const SAMPLE_BYTES = 4096;
const SAMPLES = 16;

/**
 * Encrypted or packed data costs as much to try as to compress, so a sixteenth of a mebibyte is tried first: 16 slices
 * spread over the chunk. A chunk that is compressible only between the slices is stored plain: larger, but right.
 */
function looksCompressible(plain: Uint8Array): boolean {
  if (plain.length < 4 * SAMPLES * SAMPLE_BYTES) return true;
  const sample = Buffer.allocUnsafe(SAMPLES * SAMPLE_BYTES);
  const stride = Math.floor(plain.length / SAMPLES);
  for (let i = 0; i < SAMPLES; i += 1) {
    sample.set(plain.subarray(i * stride, i * stride + SAMPLE_BYTES), i * SAMPLE_BYTES);
  }
  return zstd(sample, 1).length <= sample.length * WORTH_KEEPING;
}

/** What zlib answers below this may lie in the pool of memory that all of Node shares, which cannot be given to a thread. */
const POOLED_BYTES_MAX = 64 * KiB;

const ofItsOwn = (bytes: Buffer<ArrayBuffer>): Uint8Array<ArrayBuffer> =>
  bytes.length <= POOLED_BYTES_MAX
    ? new Uint8Array(bytes)
    : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);

/** zlib's sync calls grow their output in steps of 16 KiB and copy them together: one buffer that holds it all is faster. */
function zstd(plain: Uint8Array, level: number): Uint8Array<ArrayBuffer> {
  const frame = zstdCompressSync(plain, {
    chunkSize: plain.length + (plain.length >> 8) + 512,
    pledgedSrcSize: plain.length,
    params: { [constants.ZSTD_c_compressionLevel]: level },
  });
  return ofItsOwn(frame);
}

/**
 * The plain bytes of a chunk file, checked against the digest that names it. For stored chunks a view of `file`.
 * Throws a permanent Fault that says what is wrong with the bytes.
 */
export function plainBytes(file: Uint8Array<ArrayBuffer>, digest: string): Uint8Array<ArrayBuffer> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < CHUNK_HEADER_BYTES) throw damaged(`has ${file.length} bytes, less than its header`);
  if (view.getUint32(0) !== MAGIC) throw damaged('does not start as a chunk file does');
  if (view.getUint8(4) !== VERSION)
    throw damaged(`is of version ${view.getUint8(4)}, which is not known here`);
  const algorithm = view.getUint8(5);
  const length = view.getUint32(8);
  const bodyLength = view.getUint32(12);
  if (length === 0 || length > CHUNK_BYTES_MAX) throw damaged(`claims ${length} plain bytes`);
  if (file.length !== CHUNK_HEADER_BYTES + bodyLength) {
    throw damaged(`has ${file.length} bytes where ${CHUNK_HEADER_BYTES + bodyLength} were written`);
  }
  const plain = unpacked(algorithm, file.subarray(CHUNK_HEADER_BYTES), length);
  if (plain.length !== length)
    throw damaged(`holds ${plain.length} plain bytes where ${length} were written`);
  const found = digestOf(plain);
  if (found !== digest) throw damaged(`holds bytes of digest ${found}`);
  return plain;
}

function unpacked(algorithm: number, body: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  if (algorithm === STORED) return body;
  if (algorithm !== ZSTD) throw damaged(`is packed with algorithm ${algorithm}, which is not known here`);
  try {
    // The limit makes a body that would unpack to more than it claims an error, not an allocation.
    return ofItsOwn(zstdDecompressSync(body, { chunkSize: length + 64, maxOutputLength: length }));
  } catch (error) {
    throw damaged('cannot be unpacked', error);
  }
}

const damaged = (what: string, cause?: unknown): Fault =>
  new Fault(`the chunk file ${what}`, { permanent: true, code: 'ChunkDamaged', cause });

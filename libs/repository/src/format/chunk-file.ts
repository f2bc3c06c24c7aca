/**
 * The bytes of a chunk file (docs/format.md, "Chunk file"): a header of 16 bytes and a body. Pure; the expensive half
 * runs on worker threads. What is read is not trusted: lengths are bounded before anything is allocated for them.
 */
import { hash } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { copyBytes, Fault, KiB } from '@backhaul/kernel';
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

/**
 * Makes a chunk file of the plain bytes that lie in `file` where the body of a stored chunk lies, in place: packed where that
 * gains enough. Answers the length of the file. `file` needs room for the plain bytes and their header.
 */
export function encodeInPlace(file: Uint8Array, plainLength: number, level: number): number {
  const plain = file.subarray(CHUNK_HEADER_BYTES, CHUNK_HEADER_BYTES + plainLength);
  const body = looksCompressible(plain) ? zstd(plain, level) : undefined;
  const packed = body !== undefined && body.length <= plainLength * WORTH_KEEPING ? body : undefined;
  const bodyLength = packed?.length ?? plainLength;
  if (packed !== undefined) copyBytes(plain, 0, packed);
  if (body !== undefined) giveBack(body);
  const header = new DataView(file.buffer, file.byteOffset, CHUNK_HEADER_BYTES);
  header.setUint32(0, MAGIC);
  header.setUint8(4, VERSION);
  header.setUint8(5, packed === undefined ? STORED : ZSTD);
  header.setUint16(6, 0);
  header.setUint32(8, plainLength);
  header.setUint32(12, bodyLength);
  return CHUNK_HEADER_BYTES + bodyLength;
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

/** zlib's sync calls grow their output in steps of 16 KiB and copy them together: one buffer that holds it all is faster. */
function zstd(plain: Uint8Array, level: number): Uint8Array {
  return zstdCompressSync(plain, {
    chunkSize: plain.length + (plain.length >> 8) + 512,
    pledgedSrcSize: plain.length,
    params: { [constants.ZSTD_c_compressionLevel]: level },
  });
}

/**
 * The plain bytes of a chunk file, checked against the digest that names it. For stored chunks a view of `file`.
 * Throws a permanent Fault that says what is wrong with the bytes.
 */
export function plainBytes<B extends ArrayBufferLike>(
  file: Uint8Array<B>,
  digest: string,
): Uint8Array<B | ArrayBuffer> {
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

/**
 * The way back from `encodeInPlace`: of the chunk file that is the first `fileLength` bytes of `file`, the plain bytes, behind
 * the header. Answers their length. `file` needs room for them; checked and refused as by `plainBytes`.
 */
export function decodeInPlace(file: Uint8Array, fileLength: number, digest: string): number {
  const plain = plainBytes(file.subarray(0, fileLength), digest);
  const { length, buffer } = plain;
  if (buffer === file.buffer) return length;
  // Packed bytes cannot be unpacked over themselves.
  copyBytes(file, CHUNK_HEADER_BYTES, plain);
  giveBack(plain);
  return length;
}

/** What zlib answers below this may lie in the pool of memory that all of Node shares, which can be given to no thread and not back. */
const POOLED_BYTES_MAX = 64 * KiB;

/** Of what zlib answered, at once: the collector comes by too seldom for buffers of this size, and costs more when it does. */
function giveBack({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength > POOLED_BYTES_MAX) buffer.transfer(0);
}

const ofItsOwn = (bytes: Buffer<ArrayBuffer>): Uint8Array<ArrayBuffer> =>
  bytes.length <= POOLED_BYTES_MAX
    ? new Uint8Array(bytes)
    : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);

function unpacked<B extends ArrayBufferLike>(
  algorithm: number,
  body: Uint8Array<B>,
  length: number,
): Uint8Array<B | ArrayBuffer> {
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

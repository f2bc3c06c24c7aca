/**
 * The header and the records of a segment map file (docs/format.md, "Segment map"), one at a time, with every check that the format asks
 * for of each. Pure; whoever reads a map walks it by these.
 */
import { Fault } from '@backhaul/kernel';
import { CHUNK_BYTES_MAX } from './bounds.ts';

export const MAP_MAGIC = 0x4248534d; // "BHSM"
export const MAP_VERSION = 1;
export const HEADER_BYTES = 16;
export const RECORD_BYTES = 16;
export const DIGEST_BYTES = 32;

export const RECORD_KIND = { zero: 1, chunks: 2, end: 3 } as const;

/** Longer runs are cut here, so that a reader needs no more than 128 KiB for one. */
export const RUN_MAX = 4096;

export type MapRecord =
  | { readonly kind: 'zero'; readonly count: 1; readonly length: number }
  /** `count` segments of `length` bytes each, each at `chunkOffset` of its own chunk; their digests follow. */
  | { readonly kind: 'chunks'; readonly count: number; readonly length: number; readonly chunkOffset: number }
  | { readonly kind: 'end'; readonly segments: number };

export function readHeader(header: Buffer, sizeBytes: number): void {
  if (header.readUInt32BE(0) !== MAP_MAGIC) throw mapFault('does not start as a segment map does');
  if (header.readUInt8(4) !== MAP_VERSION)
    throw mapFault(`is of version ${header.readUInt8(4)}, which is not known here`);
  const written = Number(header.readBigUInt64BE(8));
  if (written !== sizeBytes) throw mapFault(`is of a disk of ${written} bytes, not of ${sizeBytes}`);
}

/** The record at `at` of `bytes`, which begins at `offset` of a disk of `sizeBytes`. */
export function readRecord(bytes: Buffer, at: number, offset: number, sizeBytes: number): MapRecord {
  const kind = bytes.readUInt8(at);
  const [high, low] = [bytes.readUInt32BE(at + 8), bytes.readUInt32BE(at + 12)];
  switch (kind) {
    case RECORD_KIND.zero: {
      const length = high * 2 ** 32 + low;
      if (length === 0 || length > sizeBytes - offset)
        throw mapFault(`has zeros beyond the disk at offset ${offset}`);
      return { kind: 'zero', count: 1, length };
    }
    case RECORD_KIND.chunks: {
      const [count, length, chunkOffset] = [bytes.readUInt32BE(at + 4), high, low];
      if (count === 0 || count > RUN_MAX || length === 0 || chunkOffset + length > CHUNK_BYTES_MAX)
        throw mapFault(`has an impossible run of chunks at offset ${offset}`);
      if (count * length > sizeBytes - offset)
        throw mapFault(`has chunks beyond the disk at offset ${offset}`);
      return { kind: 'chunks', count, length, chunkOffset };
    }
    case RECORD_KIND.end:
      return { kind: 'end', segments: high * 2 ** 32 + low };
    default:
      throw mapFault(`has a record of kind ${kind} at offset ${offset}, which is not known here`);
  }
}

export const mapFault = (what: string): Fault =>
  new Fault(`the segment map ${what}`, { permanent: true, code: 'MapDamaged' });

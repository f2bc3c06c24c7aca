/**
 * Reads a density as a rising curve: how many bytes to move lie before an offset, and the way back. Within a bucket the
 * bytes are taken to lie evenly. Work is bound by the 256 buckets, never by the size of the disk.
 */
import type { Density } from '@backhaul/contracts';

/** All the bytes of it: what a full, an incremental or a recovery of the disk moves. */
export const bytesIn = (density: Density): number => density.buckets.reduce((sum, bytes) => sum + bytes, 0);

/** Whole bytes to move in [0, offset). */
export function bytesBefore(density: Density, sizeBytes: number, offset: number): number {
  let sum = 0;
  for (const bucket of spans(density, sizeBytes)) {
    if (offset >= bucket.end) {
      sum += bucket.bytes;
      continue;
    }
    if (offset > bucket.start) {
      sum += Math.floor(bucket.bytes * ((offset - bucket.start) / (bucket.end - bucket.start)));
    }
    break;
  }
  return sum;
}

/** The first offset that has `bytes` bytes to move before it. */
export function offsetAfter(density: Density, sizeBytes: number, bytes: number): number {
  let sum = 0;
  for (const bucket of spans(density, sizeBytes)) {
    if (sum + bucket.bytes >= bytes && bucket.bytes > 0) {
      return bucket.start + (bucket.end - bucket.start) * ((bytes - sum) / bucket.bytes);
    }
    sum += bucket.bytes;
  }
  return sizeBytes;
}

/** The last bucket ends where the disk ends: it may be shorter than the others. */
function* spans(
  { bucketBytes, buckets }: Density,
  sizeBytes: number,
): Generator<{ start: number; end: number; bytes: number }> {
  for (const [index, bytes] of buckets.entries()) {
    const isLast = index === buckets.length - 1;
    yield { start: index * bucketBytes, end: isLast ? sizeBytes : (index + 1) * bucketBytes, bytes };
  }
}

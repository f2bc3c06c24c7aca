/** Sums bytes into at most 256 buckets of equal width, whatever the size of the disk and the number of extents. */
import { CHUNK_BYTES, type Density } from '@backhaul/contracts';

const BUCKETS_MAX = 256;

export interface DensityCount {
  add(offset: number, length: number): void;
  result(): Density;
}

/** The narrowest bucket on the chunk grid that needs no more than 256 of them. */
export const bucketBytesFor = (sizeBytes: number): number =>
  Math.max(1, Math.ceil(sizeBytes / (BUCKETS_MAX * CHUNK_BYTES))) * CHUNK_BYTES;

export function countDensity(sizeBytes: number): DensityCount {
  const bucketBytes = bucketBytesFor(sizeBytes);
  const buckets = new Array<number>(Math.ceil(sizeBytes / bucketBytes)).fill(0);
  return {
    add(offset, length) {
      const end = Math.min(offset + length, sizeBytes);
      for (let at = offset; at < end; ) {
        const bucket = Math.floor(at / bucketBytes);
        const next = Math.min(end, (bucket + 1) * bucketBytes);
        buckets[bucket] = (buckets[bucket] ?? 0) + (next - at);
        at = next;
      }
    },
    result: () => ({ bucketBytes, buckets }),
  };
}

/** Densities at random, for properties. */
import { CHUNK_BYTES, type Density } from '@backhaul/contracts';
import fc from 'fast-check';

/** Bytes at random in each bucket, never more than the bucket is long. */
export function densityOf(sizeBytes: number, bucketBytes: number): fc.Arbitrary<Density> {
  const lengths: number[] = [];
  for (let start = 0; start < sizeBytes; start += bucketBytes) {
    lengths.push(Math.min(bucketBytes, sizeBytes - start));
  }
  const fill = (length: number) =>
    fc.oneof(fc.constant(0), fc.constant(length), fc.integer({ min: 0, max: length }));
  return fc.tuple(...lengths.map(fill)).map((buckets) => ({ bucketBytes, buckets }));
}

/** A size at random, off the grid as often as not, with buckets to count it in. */
export const anySize: fc.Arbitrary<{ sizeBytes: number; bucketBytes: number }> = fc
  .record({
    slotsPerBucket: fc.integer({ min: 1, max: 40 }),
    buckets: fc.integer({ min: 0, max: 20 }),
    cutOff: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: CHUNK_BYTES - 1 })),
  })
  .map(({ slotsPerBucket, buckets, cutOff }) => {
    const bucketBytes = slotsPerBucket * CHUNK_BYTES;
    return { sizeBytes: Math.max(0, buckets * bucketBytes - cutOff), bucketBytes };
  });

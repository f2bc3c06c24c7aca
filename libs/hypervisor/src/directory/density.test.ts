import { CHUNK_BYTES } from '@backhaul/contracts';
import { TiB } from '@backhaul/kernel';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bucketBytesFor, countDensity } from './density.ts';

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

describe('a density', () => {
  test('has at most 256 buckets on the chunk grid, which cover the disk and no bucket more', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 64 * TiB }), (sizeBytes) => {
        const { bucketBytes, buckets } = countDensity(sizeBytes).result();
        expect(bucketBytes % CHUNK_BYTES).toBe(0);
        expect(buckets.length).toBeLessThanOrEqual(256);
        expect(buckets.length).toBe(Math.ceil(sizeBytes / bucketBytes));
      }),
    );
  });

  test('sums exactly the bytes of the extents, each in its bucket, and none beyond the disk', () => {
    const sizeBytes = 300 * CHUNK_BYTES + 512;
    const extent = fc.record({
      offset: fc.nat(sizeBytes - 1),
      length: fc.integer({ min: 1, max: 20 * CHUNK_BYTES }),
    });
    fc.assert(
      fc.property(extent, ({ offset, length }) => {
        const count = countDensity(sizeBytes);
        count.add(offset, length);
        const { bucketBytes, buckets } = count.result();
        const end = Math.min(offset + length, sizeBytes);
        expect(sum(buckets)).toBe(end - offset);
        for (const [index, bytes] of buckets.entries()) {
          const shared = Math.min(end, (index + 1) * bucketBytes) - Math.max(offset, index * bucketBytes);
          expect(bytes).toBe(Math.max(0, shared));
        }
      }),
    );
  });

  test('of a small disk has buckets of one chunk', () => {
    expect(bucketBytesFor(0)).toBe(CHUNK_BYTES);
    expect(bucketBytesFor(256 * CHUNK_BYTES)).toBe(CHUNK_BYTES);
    expect(bucketBytesFor(256 * CHUNK_BYTES + 1)).toBe(2 * CHUNK_BYTES);
  });
});

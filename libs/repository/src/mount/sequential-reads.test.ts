import { type Extent, extentEnd, GiB, KiB, MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { SequentialReads } from './sequential-reads.ts';

/** What is fetched when all this is read, in this order. */
const fetched = (reads: SequentialReads, ranges: readonly Extent[]): Extent[] =>
  ranges.flatMap((range) => reads.note(range) ?? []);
const sequence = (from: number, length: number, count: number): Extent[] =>
  Array.from({ length: count }, (_, n) => ({ offset: from + n * length, length }));

test('whoever reads on is fetched for, each byte once, never past the end, never far ahead', () => {
  const size = 40 * MiB + 512;
  const reads = new SequentialReads(size);
  let end = 0;
  let read = 0;
  for (const range of sequence(0, 128 * KiB, 320)) {
    const soon = reads.note(range);
    read = extentEnd(range);
    if (soon === undefined) continue;
    expect(soon.offset).toBeGreaterThanOrEqual(Math.max(end, read));
    end = extentEnd(soon);
    expect(end).toBeLessThanOrEqual(Math.min(size, read + 16 * MiB));
  }
  expect(end).toBe(size);
});

test('one read is no sequence, however large, and neither are reads here and there', () => {
  const reads = new SequentialReads(GiB);
  expect(reads.note({ offset: 0, length: 32 * MiB })).toBeUndefined();
  const scattered = sequence(100 * MiB, 4096, 200).map(({ offset }, n) => ({
    offset: (offset + n * 37 * MiB) % (GiB - 4096),
    length: 4096,
  }));
  expect(fetched(new SequentialReads(GiB), scattered)).toEqual([]);
});

test('several who read at once, and out of order within their own, are told apart', () => {
  const reads = new SequentialReads(GiB);
  const streams = [0, 256 * MiB, 512 * MiB, 768 * MiB].map((from) => sequence(from, 256 * KiB, 64));
  const swapped = streams.map((ranges) => ranges.map((_, n) => ranges[n ^ 1] as Extent));
  const ends = [0, 0, 0, 0];
  for (let n = 0; n < 64; n += 1) {
    for (const [i, ranges] of swapped.entries()) {
      const soon = reads.note(ranges[n] as Extent);
      if (soon !== undefined) ends[i] = extentEnd(soon);
    }
  }
  for (const [i, end] of ends.entries()) expect(end).toBeGreaterThan(i * 256 * MiB + 16 * MiB);
});

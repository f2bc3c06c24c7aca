import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { overlay } from './overlay.ts';
import type { Segment } from './repository.ts';
import { canonical } from './segments.ts';
import { collected } from './testing/collected.ts';

const digest = (n: number): string => n.toString(16).padStart(64, '0');
const piece = (offset: number, length: number, n: number | null, chunkOffset = 0): Segment => ({
  offset,
  length,
  digest: n === null ? null : digest(n),
  chunkOffset,
});

/** A disk as an array of bytes: each is named by the chunk and the place in it that it comes from. */
const bytesOf = (segments: readonly Segment[], size: number): string[] => {
  const bytes = Array<string>(size).fill('zero');
  for (const { offset, length, digest, chunkOffset } of segments) {
    for (let i = 0; i < length && offset + i < size; i += 1) {
      bytes[offset + i] = digest === null ? 'zero' : `${digest.slice(-4)}+${chunkOffset + i}`;
    }
  }
  return bytes;
};

/** Sorted segments with gaps, as a list of (gap, length, chunk). */
const sortedSegments = (sizeMax: number, firstChunk: number) =>
  fc
    .array(
      fc.record({
        gap: fc.nat(5),
        length: fc.integer({ min: 1, max: 12 }),
        chunk: fc.option(fc.nat(5)),
        chunkOffset: fc.nat(9),
      }),
      { maxLength: 12 },
    )
    .map((parts) => {
      const list: Segment[] = [];
      let offset = 0;
      for (const { gap, length, chunk, chunkOffset } of parts) {
        offset += gap;
        if (offset + length > sizeMax) break;
        list.push(
          piece(offset, length, chunk === null ? null : firstChunk + chunk, chunk === null ? 0 : chunkOffset),
        );
        offset += length;
      }
      return list;
    });

describe('an overlay is the parent with the changes written over it', () => {
  test('byte by byte, whatever the lists, also when the disk grew or shrank', async () => {
    await fc.assert(
      fc.asyncProperty(
        sortedSegments(100, 0),
        fc
          .integer({ min: 0, max: 120 })
          .chain((size) => fc.tuple(fc.constant(size), sortedSegments(size, 100))),
        async (parent, [size, changes]) => {
          const merged = await collected(canonical(size, overlay(parent, changes, size)));
          const expected = bytesOf(parent, size);
          bytesOf(changes, size).forEach((byte, i) => {
            if (changes.some(({ offset, length }) => i >= offset && i < offset + length)) expected[i] = byte;
          });
          expect(bytesOf(merged, size)).toEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('a full has no parent: what was not read is zero', async () => {
    expect(await collected(overlay([], [piece(4, 4, 1)], 12))).toEqual([
      piece(0, 4, null),
      piece(4, 4, 1),
      piece(8, 4, null),
    ]);
  });

  test('a change inside a chunk leaves both of its ends', async () => {
    expect(await collected(overlay([piece(0, 12, 1)], [piece(4, 4, 2)], 12))).toEqual([
      piece(0, 4, 1, 0),
      piece(4, 4, 2),
      piece(8, 4, 1, 8),
    ]);
  });

  test('overlaying nothing changes nothing', async () => {
    const parent = [piece(0, 4, 1), piece(4, 4, null), piece(8, 4, 2, 3)];
    expect(await collected(overlay(parent, [], 12))).toEqual(parent);
  });

  test('an empty disk has no segments', async () => {
    expect(await collected(overlay([piece(0, 4, 1)], [], 0))).toEqual([]);
  });
});

describe('lists that cannot be are refused', () => {
  test.each([
    ['changes that overlap', [], [piece(0, 4, 1), piece(2, 4, 2)], 'segment at 2 begins before 4'],
    ['a parent out of order', [piece(4, 4, 1), piece(0, 4, 2)], [], 'segment at 0 begins before 8'],
    ['a change across the end', [], [piece(10, 4, 1)], "ends beyond the disk's 12 bytes"],
    ['a change after the end', [], [piece(12, 4, 1)], "lies beyond the disk's 12 bytes"],
    ['an empty change', [], [piece(0, 0, 1)], 'impossible segment'],
    [
      'bytes beyond a chunk',
      [],
      [piece(0, 4, 1, 4 * 1024 * 1024 - 3)],
      'takes 4 bytes at 4194301 of a chunk',
    ],
  ])('%s', async (_what, parent, changes, reason) => {
    await expect(collected(overlay(parent, changes, 12))).rejects.toThrow(reason);
  });
});

test('both lists are closed, also when the reader stops early', async () => {
  const closed: string[] = [];
  async function* endless(name: string): AsyncGenerator<Segment> {
    try {
      for (let offset = 0; ; offset += 4) yield piece(offset, 2, 1);
    } finally {
      closed.push(name);
    }
  }
  for await (const { offset } of overlay(endless('parent'), endless('changes'), 1000)) {
    if (offset > 10) break;
  }
  expect(closed.sort()).toEqual(['changes', 'parent']);
});

test('the canonical form joins what belongs together and refuses gaps', async () => {
  const joined = canonical(20, [
    piece(0, 4, null),
    piece(4, 4, null),
    piece(8, 4, 1, 0),
    piece(12, 4, 1, 4),
    piece(16, 4, 1, 0),
  ]);
  expect(await collected(joined)).toEqual([piece(0, 8, null), piece(8, 8, 1), piece(16, 4, 1)]);
  const nameless = { ...piece(0, 8, 1), digest: 'x' };
  await expect(collected(canonical(8, [nameless]))).rejects.toThrow('which is no digest');
  await expect(collected(canonical(8, [piece(4, 4, 1)]))).rejects.toThrow('leaves a gap at 0');
  await expect(collected(canonical(8, [piece(0, 4, 1)]))).rejects.toThrow('ends at 4, before');
  await expect(collected(canonical(2, [piece(0, 4, 1)]))).rejects.toThrow('ends at 4, beyond');
});

import type { Segment } from '@backhaul/repository';
import { expect, test } from 'vitest';
import { Confirmed, type Piece, sampleOf, within } from './pieces.ts';

const segment = (offset: number, length: number, digest: string | null, chunkOffset = 0): Segment => ({
  ...{ offset, length, digest, chunkOffset },
});
const all = <T>(items: AsyncIterable<T>): Promise<T[]> => Array.fromAsync(items);

test('a portion has its own part of what crosses its edges, and the map is read no further', async () => {
  const map = function* (): Generator<Segment> {
    yield segment(0, 100, 'a', 7);
    yield segment(100, 100, null);
    yield segment(200, 100, 'b', 1);
    yield segment(300, 100, 'c');
    throw new Error('Nothing behind the portion is needed');
  };
  expect(await all(within({ offset: 40, length: 210 }, map()))).toEqual([
    segment(40, 60, 'a', 47),
    segment(100, 100, null),
    segment(200, 50, 'b', 1),
  ]);
});

test('the sample has the first piece and the last, and every 16th in between; zeros do not count', async () => {
  const map = Array.from({ length: 41 }, (_, at) => segment(at, 1, at === 3 ? null : `d${at}`));
  const sampled = async (pieces: Segment[], whole = false) =>
    (await all(sampleOf(pieces, whole))).map(({ offset }: Piece) => offset);
  expect(await sampled(map)).toEqual([0, 17, 33, 40]);
  expect(await sampled(map.slice(0, 1))).toEqual([0]);
  expect(await sampled(map.slice(0, 18))).toEqual([0, 17]);
  expect(await sampled(map.slice(3, 4))).toEqual([]);
  expect(await sampled(map.slice(0, 6), true)).toEqual([0, 1, 2, 4, 5]);
});

test('confirmed is what was confirmed whole', () => {
  const confirmed = new Confirmed([
    { offset: 10, length: 10 },
    { offset: 30, length: 10 },
  ]);
  const covers = (offset: number, length: number): boolean => confirmed.covers({ offset, length });
  expect([covers(10, 10), covers(12, 3), covers(35, 5)]).toEqual([true, true, true]);
  expect([covers(9, 2), covers(15, 6), covers(15, 20), covers(20, 5), covers(40, 1)]).toEqual(
    Array(5).fill(false),
  );
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Segment } from '../repository.ts';
import { collected } from '../testing/collected.ts';
import { RUN_MAX } from './map-records.ts';
import { decodeSegmentMap, encodeSegmentMap } from './segment-map.ts';

const digest = (n: number): string => n.toString(16).padStart(64, '0');
const MiB4 = 4 * 1024 * 1024;

async function* stream<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}
const encoded = async (size: number, segments: readonly Segment[]): Promise<Buffer> =>
  Buffer.concat(await collected(encodeSegmentMap(size, stream(segments))));
const decoded = async (size: number, ...pieces: Uint8Array[]): Promise<Segment[]> =>
  (await collected(decodeSegmentMap(size, stream(pieces)))).flat();

/** Lays pieces end to end. */
const laid = (
  pieces: readonly { length: number; digest: string | null; chunkOffset: number }[],
): Segment[] => {
  let offset = 0;
  return pieces.map((piece) => {
    const segment = { offset, ...piece };
    offset += piece.length;
    return segment;
  });
};
const sizeOf = (segments: readonly Segment[]): number =>
  segments.reduce((sum, segment) => sum + segment.length, 0);

const segments = fc
  .array(
    fc.oneof(
      fc.record({
        length: fc.integer({ min: 1, max: 2 ** 43 }),
        digest: fc.constant(null),
        chunkOffset: fc.constant(0),
      }),
      fc.record({
        length: fc.constantFrom(512, 4096, MiB4 / 2),
        digest: fc.nat().map(digest),
        chunkOffset: fc.constantFrom(0, 0, 512),
      }),
    ),
    { maxLength: 40 },
  )
  .map(laid);

test('the bytes of a segment map never change', async () => {
  const map = laid([
    { length: MiB4, digest: 'aa'.repeat(32), chunkOffset: 0 },
    { length: MiB4, digest: 'bb'.repeat(32), chunkOffset: 0 },
    { length: 8 * 2 ** 40, digest: null, chunkOffset: 0 },
    { length: 4096, digest: 'aa'.repeat(32), chunkOffset: 512 },
  ]);
  expect((await encoded(sizeOf(map), map)).toString('hex').match(/.{1,32}/g)).toEqual([
    '4248534d010000000000080000801000', // header: BHSM, version 1, 8 TiB + 8 MiB + 4 KiB
    '02000000000000020040000000000000', // 2 chunks of 4 MiB each, from their start
    ...Array(2).fill('aa'.repeat(16)),
    ...Array(2).fill('bb'.repeat(16)),
    '01000000000000000000080000000000', // 8 TiB of zeros
    '02000000000000010000100000000200', // 1 chunk of 4 KiB, from its byte 512
    ...Array(2).fill('aa'.repeat(16)),
    '03000000000000000000000000000004', // end: 4 segments
  ]);
});

test('what was written is read again, however the bytes arrive', async () => {
  await fc.assert(
    fc.asyncProperty(segments, fc.integer({ min: 1, max: 100 }), async (list, step) => {
      const bytes = await encoded(sizeOf(list), list);
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += step) pieces.push(bytes.subarray(at, at + step));
      expect(await decoded(sizeOf(list), ...pieces)).toEqual(list);
    }),
    { numRuns: 50 },
  );
});

test('chunks of equal shape cost their digest alone, in runs that a reader can hold', async () => {
  const list = laid(
    Array.from({ length: RUN_MAX + 1 }, (_, n) => ({ length: MiB4, digest: digest(n), chunkOffset: 0 })),
  );
  const bytes = await encoded(sizeOf(list), list);
  expect(bytes.length).toBe(16 + 2 * 16 + (RUN_MAX + 1) * 32 + 16);
  expect(await decoded(sizeOf(list), bytes)).toEqual(list);
});

describe('a map that cannot be is refused, with the reason', () => {
  const list = laid([
    { length: 4096, digest: digest(1), chunkOffset: 0 },
    { length: 8192, digest: null, chunkOffset: 0 },
  ]);
  const size = sizeOf(list);

  test('every truncation, and anything after the end', async () => {
    const bytes = await encoded(size, list);
    for (let length = 0; length < bytes.length; length += 1) {
      await expect(decoded(size, bytes.subarray(0, length))).rejects.toThrow('is cut off in');
    }
    await expect(decoded(size, bytes, Buffer.from('x'))).rejects.toThrow('goes on after its end');
  });

  test('another disk size', async () => {
    await expect(decoded(size + 1, await encoded(size, list))).rejects.toThrow(
      `is of a disk of ${size} bytes, not of ${size + 1}`,
    );
  });

  test.each([
    [4, 9, 'is of version 9'],
    [16, 7, 'a record of kind 7 at offset 0'],
    [20, 255, 'impossible run of chunks at offset 0'],
    [24, 1, 'impossible run of chunks at offset 0'],
    [26, 63, 'chunks beyond the disk at offset 0'],
    [26, 8, 'ends at offset 10240 of 12288'],
    [74, 1, 'zeros beyond the disk at offset 4096'],
    [95, 3, 'has 2 segments'],
  ])('byte %i set to %i', async (at, value, reason) => {
    const bytes = await encoded(size, list);
    bytes[at] = value;
    await expect(decoded(size, bytes)).rejects.toThrow(reason);
  });
});

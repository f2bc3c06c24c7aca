import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutAt, type Extent, intersection, normalised, subtraction, totalLength } from './extent.ts';

const extents = fc.array(fc.record({ offset: fc.nat(200), length: fc.nat(40) }), { maxLength: 12 });
const bytesOf = (list: readonly Extent[]): Set<number> => {
  const bytes = new Set<number>();
  for (const { offset, length } of list) for (let i = 0; i < length; i += 1) bytes.add(offset + i);
  return bytes;
};

describe('extents behave as sets of bytes', () => {
  test('normalising keeps the bytes and leaves no two extents touching', () => {
    fc.assert(
      fc.property(extents, (list) => {
        const result = normalised(list);
        expect(bytesOf(result)).toEqual(bytesOf(list));
        expect(totalLength(result)).toBe(bytesOf(list).size);
        for (let i = 1; i < result.length; i += 1) {
          const [before, after] = [result[i - 1], result[i]] as [Extent, Extent];
          expect(after.offset).toBeGreaterThan(before.offset + before.length);
        }
      }),
    );
  });

  test('subtraction leaves the bytes of the one that are not in the other', () => {
    fc.assert(
      fc.property(extents, extents, (from, taken) => {
        const left = bytesOf(subtraction(normalised(from), normalised(taken)));
        expect(left).toEqual(bytesOf(from).difference(bytesOf(taken)));
      }),
    );
  });

  test('intersection holds the bytes of both', () => {
    fc.assert(
      fc.property(fc.nat(50), fc.nat(50), fc.nat(50), fc.nat(50), (a, b, c, d) => {
        const [one, two] = [
          { offset: a, length: b },
          { offset: c, length: d },
        ];
        const shared = intersection(one, two);
        expect(bytesOf(shared === undefined ? [] : [shared])).toEqual(
          bytesOf([one]).intersection(bytesOf([two])),
        );
      }),
    );
  });

  test('cutting leaves pieces that never cross a multiple of the unit and add up to the whole', () => {
    fc.assert(
      fc.property(fc.nat(500), fc.nat(500), fc.integer({ min: 1, max: 64 }), (offset, length, unit) => {
        const pieces = [...cutAt({ offset, length }, unit)];
        expect(bytesOf(pieces)).toEqual(bytesOf([{ offset, length }]));
        for (const piece of pieces) {
          expect(Math.floor(piece.offset / unit)).toBe(Math.floor((piece.offset + piece.length - 1) / unit));
        }
      }),
    );
  });
});

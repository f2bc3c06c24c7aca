import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assertAligned, assertInside, effectPieces, type Grid, readPieces, writePieces } from './pieces.ts';
import { PendingRead } from './protocol/transactions.ts';
import { COMMAND } from './protocol/values.ts';

const grids = fc
  .record({
    size: fc.integer({ min: 1, max: 200 }),
    minimum: fc.constantFrom(1, 2, 8),
    blocks: fc.integer({ min: 1, max: 9 }),
  })
  .map(({ size, minimum, blocks }): Grid => ({ sizeBytes: size, minimum, requestBytes: blocks * minimum }));

test('a read of any range becomes requests the server takes, and puts every byte in its place', () => {
  fc.assert(
    fc.property(grids, fc.nat(), fc.nat(), (grid, a, b) => {
      const offset = a % (grid.sizeBytes + 1);
      const length = b % (grid.sizeBytes - offset + 1);
      const target = new Uint8Array(length).fill(255);
      for (const { transaction, succeeded } of readPieces(grid, offset, length, target)) {
        const { request } = transaction;
        const end = request.offset + request.length;
        expect(request.length).toBeGreaterThan(0);
        expect(request.length).toBeLessThanOrEqual(grid.requestBytes);
        expect(request.offset % grid.minimum).toBe(0);
        if (end !== grid.sizeBytes) expect(end % grid.minimum).toBe(0);
        expect(end).toBeLessThanOrEqual(grid.sizeBytes);
        // The disk of this test holds its own offsets.
        if (!(transaction instanceof PendingRead)) throw new Error('A read is made of reads');
        const place = transaction.placeFor(request.offset, request.length);
        for (let i = 0; i < place.length; i += 1) place[i] = request.offset + i;
        succeeded?.();
      }
      expect([...target]).toEqual(Array.from({ length }, (_, i) => offset + i));
    }),
  );
});

test('a write is cut into pieces that carry its bytes once and in order', () => {
  const grid = { sizeBytes: 1000, minimum: 1, requestBytes: 64 };
  const data = Uint8Array.from({ length: 300 }, (_, i) => i);
  const pieces = [...writePieces(grid, 100, data, 0)];
  expect(Buffer.concat(pieces.map((piece) => piece.payload ?? Buffer.alloc(0)))).toEqual(Buffer.from(data));
  expect(pieces.map(({ transaction: { request } }) => [request.offset, request.length])).toEqual([
    [100, 28],
    [128, 64],
    [192, 64],
    [256, 64],
    [320, 64],
    [384, 16],
  ]);
});

test('a command without data over a huge range becomes requests within 32 bits', () => {
  const lengths = [...effectPieces(COMMAND.trim, 0, 0, 5 * 2 ** 30)].map(
    (piece) => piece.transaction.request.length,
  );
  expect(Math.max(...lengths)).toBeLessThan(2 ** 32);
  expect(lengths.reduce((sum, length) => sum + length)).toBe(5 * 2 ** 30);
});

test('a range outside of the export, and a write off its blocks, are refused for good', () => {
  const grid = { sizeBytes: 1000, minimum: 512, requestBytes: 512 };
  for (const [offset, length] of [
    [0, 1001],
    [1000, 1],
    [-1, 1],
    [0.5, 1],
    [0, Number.NaN],
    [2 ** 53, 0],
  ] as const)
    expect(() => assertInside(grid, offset, length)).toThrow(
      expect.objectContaining({ code: 'OutOfRange', permanent: true }),
    );
  assertAligned(grid, 512, 488);
  for (const [offset, length] of [
    [1, 511],
    [0, 100],
    [512, 487],
  ] as const)
    expect(() => assertAligned(grid, offset, length)).toThrow(expect.objectContaining({ code: 'Unaligned' }));
});

import { CHUNK_BYTES } from '@backhaul/contracts';
import { type Extent, extentEnd, intersection, normalised, subtraction, totalLength } from '@backhaul/kernel';
import { STATE_DIRTY, STATE_HOLE, STATE_ZERO, type StatusExtent } from '@backhaul/nbd';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ALLOCATION, type AskStatus, type Piece, piecesOfFull, piecesOfIncremental } from './pieces.ts';

const KiB64 = 64 * 1024;
const DISK = 40 * 1024 * 1024 + 512;

/** A host that answers from lists of extents: data everywhere but in `zero`, changes only in `dirty`. */
const hostOf = (zero: readonly Extent[], dirty: readonly Extent[] = []): AskStatus =>
  async function* (context, range): AsyncGenerator<StatusExtent> {
    const [marked, inside, outside] =
      context === ALLOCATION ? [zero, STATE_ZERO | STATE_HOLE, 0] : [dirty, STATE_DIRTY, 0];
    const hits = marked.map((extent) => intersection(extent, range)).filter((extent) => extent !== undefined);
    const runs = [
      ...hits.map((extent) => ({ ...extent, flags: inside })),
      ...subtraction([range], hits).map((extent) => ({ ...extent, flags: outside })),
    ];
    yield* runs.sort((a, b) => a.offset - b.offset);
  };

const collect = async (pieces: AsyncIterable<Piece>): Promise<Piece[]> => {
  const all: Piece[] = [];
  for await (const piece of pieces) all.push(piece);
  return all;
};

const extents = fc
  .array(fc.record({ offset: fc.nat(Math.floor(DISK / KiB64)), length: fc.integer({ min: 1, max: 100 }) }), {
    maxLength: 8,
  })
  .map((list) =>
    normalised(list.map(({ offset, length }) => ({ offset: offset * KiB64, length: length * KiB64 })))
      .map((extent) => intersection(extent, { offset: 0, length: DISK }))
      .filter((extent) => extent !== undefined),
  );
const whole = { offset: 0, length: DISK };

describe('a full', () => {
  test('reads all data once, nothing that is known to be zero, in pieces of whole slots', async () => {
    await fc.assert(
      fc.asyncProperty(extents, async (zero) => {
        const pieces = await collect(piecesOfFull(whole, hostOf(zero), []));
        expect(normalised(pieces.flatMap(({ reads }) => reads))).toEqual(
          normalised(subtraction([whole], zero)),
        );
        for (const piece of pieces) {
          expect(piece.offset % CHUNK_BYTES).toBe(0);
          expect(piece.length).toBe(Math.min(CHUNK_BYTES, DISK - piece.offset));
          for (const read of piece.reads) {
            expect(read.offset).toBeGreaterThanOrEqual(piece.offset);
            expect(extentEnd(read)).toBeLessThanOrEqual(extentEnd(piece));
          }
        }
      }),
    );
  });

  test('does not read again what was received, and reads the rest', async () => {
    const all = await collect(piecesOfFull(whole, hostOf([]), []));
    const received = normalised(all.slice(2, 5));
    const rest = await collect(piecesOfFull(whole, hostOf([]), received));
    expect(rest).toEqual([...all.slice(0, 2), ...all.slice(5)]);
  });

  test('reads everything of a host that cannot tell where data is', async () => {
    const pieces = await collect(piecesOfFull(whole, undefined, []));
    expect(totalLength(pieces.flatMap(({ reads }) => reads))).toBe(DISK);
  });

  test('stays inside its portion', async () => {
    const portion = { offset: 8 * 1024 * 1024, length: 4 * 1024 * 1024 };
    expect(await collect(piecesOfFull(portion, hostOf([]), []))).toEqual([{ ...portion, reads: [portion] }]);
  });
});

describe('an incremental', () => {
  test('covers the changed bytes exactly, reads those that are not zero, and never crosses the grid with a read', async () => {
    await fc.assert(
      fc.asyncProperty(extents, extents, extents, async (zero, dirty, received) => {
        const pieces = await collect(
          piecesOfIncremental(whole, 'changed', hostOf(zero, dirty), true, received),
        );
        const wanted = subtraction(dirty, received);
        expect(totalLength(pieces)).toBe(totalLength(wanted));
        expect(normalised(pieces)).toEqual(normalised(wanted));
        const reads = pieces.flatMap((piece) => piece.reads);
        expect(normalised(reads)).toEqual(normalised(subtraction(wanted, zero)));
        for (const read of reads) {
          expect(Math.floor(read.offset / CHUNK_BYTES)).toBe(Math.floor((extentEnd(read) - 1) / CHUNK_BYTES));
        }
      }),
    );
  });

  test('reads what is damaged and has not changed as well, once, and a whole slot as the one piece that it was', async () => {
    const slot = (n: number): Extent => ({ offset: n * CHUNK_BYTES, length: CHUNK_BYTES });
    const quarter = CHUNK_BYTES / 4;
    const zero = [{ offset: slot(1).offset + quarter, length: quarter }];
    const dirty = [{ offset: slot(2).offset, length: quarter }];
    const pieces = await collect(
      piecesOfIncremental(whole, 'changed', hostOf(zero, dirty), true, [slot(4)], [1, 2, 4].map(slot)),
    );
    const rest = { offset: slot(2).offset + quarter, length: 3 * quarter };
    expect(pieces).toEqual([
      { ...dirty[0], reads: dirty },
      { ...slot(1), reads: subtraction([slot(1)], zero) },
      { ...rest, reads: [rest] },
    ]);
  });
});

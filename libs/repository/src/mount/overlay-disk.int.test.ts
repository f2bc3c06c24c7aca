import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { KiB, MiB, TiB } from '@backhaul/kernel';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { noise } from '../testing/sample-repository.ts';
import { temporaryFolder } from '../testing/temporary-folder.ts';
import { BLOCK, BlockStates, blockBytesFor } from './block-states.ts';
import type { Disk, DiskPiece } from './disk.ts';
import { type OverlayDisk, openOverlayDisk } from './overlay-disk.ts';
import { saveDisk } from './save-disk.ts';

/** A disk below that answers later than it was asked, so that writers of one block meet. */
function diskOf(content: Uint8Array): Disk {
  return {
    sizeBytes: content.length,
    async read(offset, length) {
      await new Promise(setImmediate);
      return [content.slice(offset, offset + length)];
    },
    async extents(_offset, length) {
      return [{ length, isHole: false }];
    },
  };
}

async function overlaid(below: Disk): Promise<{ disk: OverlayDisk; folder: string }> {
  const folder = await temporaryFolder();
  const disk = await openOverlayDisk(below, folder);
  onTestFinished(() => disk.close());
  return { disk, folder };
}

const bytesOf = (pieces: readonly DiskPiece[]): Buffer =>
  Buffer.concat(
    pieces.map((piece) => (piece instanceof Uint8Array ? piece : new Uint8Array(piece.zeroBytes))),
  );

const SIZE = 60 * KiB + 100;
const change = fc
  .record({
    kind: fc.constantFrom('write', 'zero', 'trim'),
    offset: fc.oneof(
      fc.nat(SIZE - 1),
      fc.nat(14).map((n) => n * 4096),
    ),
    length: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.constantFrom(4096, 8192, SIZE)),
    fill: fc.integer({ min: 1, max: 255 }),
  })
  .map((each) => ({ ...each, length: Math.min(each.length, SIZE - each.offset) }));

type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

test('whatever is written, zeroed and trimmed in whatever order, the disk is what a plain one would be', async () => {
  const folder = await temporaryFolder();
  const check = async (changes: readonly Change[]) => {
    const below = noise(SIZE);
    const model = below.slice();
    const disk = await openOverlayDisk(diskOf(below), folder);
    try {
      for (const { kind, offset, length, fill } of changes) {
        if (kind === 'write') {
          await disk.write(offset, new Uint8Array(length).fill(fill));
          model.fill(fill, offset, offset + length);
        } else if (kind === 'zero') {
          await disk.writeZeroes(offset, length);
          model.fill(0, offset, offset + length);
        } else {
          await disk.trim(offset, length);
          // Whole blocks become zero, the others stay as they are: told by reading.
          const now = bytesOf(await disk.read(offset, length));
          expect(now.every((byte, i) => byte === 0 || byte === model[offset + i])).toBe(true);
          model.set(now, offset);
        }
      }
      expect(bytesOf(await disk.read(0, SIZE)).equals(model)).toBe(true);
      let at = 0;
      while (at < SIZE) {
        for (const run of await disk.extents(at, SIZE - at, 3)) {
          if (run.isHole) expect(model.subarray(at, at + run.length).every((byte) => byte === 0)).toBe(true);
          at += run.length;
        }
      }
    } finally {
      await disk.close();
    }
  };
  await fc.assert(fc.asyncProperty(fc.array(change, { maxLength: 12 }), check), { numRuns: 150 });
});

test('writers of the same block at the same time lose nothing of each other', async () => {
  const below = noise(64 * KiB);
  const { disk } = await overlaid(diskOf(below));
  const model = below.slice();
  const pieces = Array.from({ length: 64 }, (_, n) => ({ offset: n * 1000, data: noise(1000) }));
  await Promise.all([
    ...pieces.map(({ offset, data }) => disk.write(offset, data)),
    disk.writeZeroes(64 * 1000, 500),
  ]);
  for (const { offset, data } of pieces) model.set(data, offset);
  model.fill(0, 64_000, 64_500);
  expect(bytesOf(await disk.read(0, 64 * KiB)).equals(model)).toBe(true);
});

test('the overlay has no name in the file system, and takes the room of what was written', async () => {
  const { disk, folder } = await overlaid(diskOf(new Uint8Array(MiB)));
  await disk.write(0, noise(64 * KiB));
  expect(await readdir(folder)).toEqual([]);
  await expect(openOverlayDisk(diskOf(new Uint8Array(1)), join(folder, 'absent'))).rejects.toThrow('absent');
});

test('a disk is kept as a raw file: equal, sparse, whole or not at all', async () => {
  const below = noise(20 * MiB);
  const { disk, folder } = await overlaid(diskOf(below));
  await disk.writeZeroes(0, 8 * MiB);
  await disk.write(12 * MiB + 5, noise(1000));
  const target = join(folder, 'kept.raw');
  const progress: number[] = [];
  await saveDisk({ disk, target, onProgress: ({ doneBytes }) => progress.push(doneBytes) });
  expect(bytesOf(await disk.read(0, 20 * MiB)).equals(await readFile(target))).toBe(true);
  expect((await stat(target)).blocks * 512).toBeLessThan(13 * MiB);
  expect(progress.at(-1)).toBe(20 * MiB);
  await expect(saveDisk({ disk, target })).rejects.toMatchObject({ code: 'EEXIST' });
  expect(await readdir(folder)).toEqual(['kept.raw']);
});

describe('what is known of the blocks', () => {
  test('blocks grow with the disk, so that what is known of all of them fits in 64 MiB', () => {
    expect([TiB / 1000, TiB, 8 * TiB].map(blockBytesFor)).toEqual([4 * KiB, 4 * KiB, 32 * KiB]);
  });

  test('is what was set last, for each block, and runs are as long as they are', () => {
    const range = fc.tuple(fc.nat(40_000), fc.nat(300), fc.constantFrom(...Object.values(BLOCK)));
    fc.assert(
      fc.property(fc.array(range, { maxLength: 10 }), (changes) => {
        const states = new BlockStates();
        const model = new Uint8Array(41_000);
        for (const [from, length, state] of changes) {
          states.set(from, from + length, state);
          model.fill(state, from, from + length);
        }
        for (let block = 0; block < model.length; ) {
          const end = states.runEnd(block, model.length);
          const expected = model.findIndex((state, i) => i > block && state !== model[block]);
          expect([states.at(block), end]).toEqual([model[block], expected < 0 ? model.length : expected]);
          block = end;
        }
      }),
      { numRuns: 50 },
    );
  });
});

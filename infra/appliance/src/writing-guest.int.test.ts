/** The judge of images is judged: what no guest can have left at one instant must be seen as such. */
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lastRecordOf } from './writing-guest.ts';

const MiB = 1024 * 1024;
let folder: string;
let image: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bh-writing-'));
  image = join(folder, 'disk.raw');
  await writeFile(image, Buffer.alloc(0));
  await using handle = await open(image, 'r+');
  await handle.truncate(64 * MiB);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const PLACES = (64 * MiB - MiB) / 65_536;
const lines = (n: number, bytes: number): Buffer => Buffer.alloc(bytes, `${String(n).padStart(15, '0')}\n`);

/** As the guest does it: first the data, then the journal. */
async function record(n: number, { data = true, journal = true } = {}): Promise<void> {
  await using handle = await open(image, 'r+');
  if (data) await handle.write(lines(n, 16_384), 0, 16_384, MiB + ((n * 7919) % PLACES) * 65_536);
  if (journal) await handle.write(lines(n, 4096), 0, 4096, (n % 256) * 4096);
}
async function records(first: number, last: number): Promise<void> {
  for (let n = first; n <= last; n += 1) await record(n);
}

test('an image without records, and images at every step of the writing, are of one instant', async () => {
  expect(await lastRecordOf(image)).toBe(0);
  await records(1, 300);
  expect(await lastRecordOf(image)).toBe(300);
  await record(301, { journal: false });
  expect(await lastRecordOf(image)).toBe(300);
  await record(301);
  expect(await lastRecordOf(image)).toBe(301);
});

test('a record that is missing before a later one is seen', async () => {
  await records(1, 50);
  await record(51, { data: false });
  await expect(lastRecordOf(image)).rejects.toThrow('where record 51 of 51 belongs');
  await record(51);
  await record(53);
  await expect(lastRecordOf(image)).rejects.toThrow('in the place of 52');
});

test('data that was written after the instant is seen', async () => {
  await records(1, 50);
  await record(50 + PLACES, { journal: false });
  await expect(lastRecordOf(image)).rejects.toThrow('where record 50 of 50 belongs');
});

test('a torn record is seen', async () => {
  await records(1, 20);
  await using handle = await open(image, 'r+');
  await handle.write(Buffer.from('x'), 0, 1, 20 * 4096 + 2048);
  await expect(lastRecordOf(image)).rejects.toThrow('torn');
});

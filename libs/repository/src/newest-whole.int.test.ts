import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { newestWhole } from './newest-whole.ts';
import type { Repository, StoredManifest } from './repository.ts';
import { collected } from './testing/collected.ts';
import { noise, sampleRepository, storeDisk } from './testing/sample-repository.ts';

const PIECE = 64 * 1024;

const chunkFiles = async (repository: Repository, { manifest }: StoredManifest): Promise<string[]> => {
  const [disk] = manifest.disks;
  if (disk === undefined) throw new Error('The sample has a disk');
  const segments = await collected(repository.readSegments(disk));
  return segments.map(({ digest }) =>
    join(repository.location, 'chunks', String(digest).slice(0, 2), String(digest)),
  );
};
const older = (repository: Repository, than: StoredManifest, diskIds = ['vda']) =>
  newestWhole({ repository, hostId: 'host', vmId: 'vm', before: than.manifest.takenAt, diskIds });

test('the newest older restore point is offered whose chunks are all whole', async () => {
  const repository = await sampleRepository();
  const shared = noise(PIECE);
  const disk = (own: Uint8Array): Uint8Array => Buffer.concat([shared, own]);
  const first = await storeDisk(repository, 1, noise(2 * PIECE), PIECE);
  const second = await storeDisk(repository, 2, disk(noise(PIECE)), PIECE);
  const third = await storeDisk(repository, 3, disk(noise(PIECE)), PIECE);
  const last = await storeDisk(repository, 4, disk(noise(PIECE)), PIECE);
  expect((await older(repository, last))?.digest).toBe(third.digest);

  const [, thirdsOwn] = await chunkFiles(repository, third);
  await rm(thirdsOwn as string);
  expect((await older(repository, last))?.digest).toBe(second.digest);

  // There, and wrong: a look at the folder would not find it. The second and the third share it.
  const [theShared] = await chunkFiles(repository, second);
  await writeFile(theShared as string, 'no chunk');
  expect((await older(repository, last))?.digest).toBe(first.digest);

  expect(await older(repository, first)).toBeUndefined();
  expect(await older(repository, last, ['vda', 'vdb'])).toBeUndefined();
});

test('a look that takes too long ends with the reason it was ended for', async () => {
  const repository = await sampleRepository();
  await storeDisk(repository, 1, noise(PIECE), PIECE);
  const last = await storeDisk(repository, 2, noise(PIECE), PIECE);
  const signal = AbortSignal.abort(new Error('the time is up'));
  const { takenAt } = last.manifest;
  await expect(
    newestWhole({ repository, hostId: 'host', vmId: 'vm', before: takenAt, diskIds: ['vda'], signal }),
  ).rejects.toThrow('the time is up');
});

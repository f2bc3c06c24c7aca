/** What is done while the folder of a repository is not there, or another lies there: nothing is put, and nothing is said to be lost. */
import { cp, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MiB } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { isRepositoryFault } from './faults.ts';
import type { Repository } from './repository.ts';
import { sampleBackupId } from './testing/sample-backup-id.ts';
import { noise, sampleRepository, storeDisk } from './testing/sample-repository.ts';
import { temporaryFolder } from './testing/temporary-folder.ts';

async function inFolder(): Promise<{ repository: Repository; away: string }> {
  const folder = await temporaryFolder();
  const repository = await sampleRepository({ location: join(folder, 'repository') });
  return { repository, away: join(folder, 'away') };
}
const manifest = (backup: number) => ({
  ...{ backupId: sampleBackupId(backup), hostId: 'host', vmId: 'vm', kind: 'full' as const },
  ...{ takenAt: '2025-01-01T00:00:00Z', parentBackupId: null, disks: [] },
});
const away = (more: object = {}) => ({ code: 'RepositoryAway', permanent: false, ...more });

test.each([
  ['gone', async () => undefined],
  ['empty, as a mount point is', async (location: string) => void (await mkdir(location))],
])('a folder that is %s takes nothing, and has lost nothing', async (_, leave) => {
  const { repository, away: aside } = await inFolder();
  const { location } = repository;
  const { digest } = await storeDisk(repository, 1, noise(MiB), MiB);
  await rename(location, aside);
  await leave(location);
  const before = await readdir(join(location, '..'), { recursive: true });

  await expect(repository.putChunk(noise(MiB))).rejects.toMatchObject(away());
  await expect(repository.putManifest(manifest(2))).rejects.toMatchObject(away());
  await expect(repository.readManifest(sampleBackupId(1))).rejects.toMatchObject(away());
  await expect(repository.readManifest(sampleBackupId(2))).rejects.toMatchObject(away());
  await expect(repository.hasChunk('0'.repeat(64))).rejects.toMatchObject(away());
  await expect(repository.requireThere()).rejects.toSatisfy(isRepositoryFault);
  expect(await readdir(join(location, '..'), { recursive: true })).toEqual(before);

  await rm(location, { recursive: true, force: true });
  await rename(aside, location);
  await repository.requireThere();
  expect((await repository.readManifest(sampleBackupId(1)))?.digest).toBe(digest);
  expect(await repository.readManifest(sampleBackupId(2))).toBeUndefined();
  expect((await repository.putChunk(noise(MiB))).storedBytes).toBeGreaterThan(0);
});

test('another repository in its place is named with its own, and nothing is put into it', async () => {
  const { repository, away: aside } = await inFolder();
  const chunk = noise(MiB);
  await repository.putChunk(chunk);
  await rename(repository.location, aside);
  const other = await sampleRepository({ location: repository.location });
  await storeDisk(other, 1, noise(MiB), MiB);
  const before = await readdir(other.location, { recursive: true });
  const message = expect.stringMatching(`${repository.repositoryId}.*${other.repositoryId}`);
  // One that was put before, too: that it is known says where it lies, and that is not here.
  for (const bytes of [chunk, noise(MiB)])
    await expect(repository.putChunk(bytes)).rejects.toMatchObject(away({ message }));
  await expect(repository.putManifest(manifest(1))).rejects.toMatchObject(away({ message }));
  await expect(repository.readManifest(sampleBackupId(3))).rejects.toMatchObject(away({ message }));
  expect(await readdir(other.location, { recursive: true })).toEqual(before);
});

test('of a copy in its place nothing is taken as known: what it lacks is stored in it', async () => {
  const { repository, away: aside } = await inFolder();
  await rm(aside, { recursive: true, force: true });
  await cp(repository.location, aside, { recursive: true });
  const chunk = noise(MiB);
  const { digest } = await repository.putChunk(chunk);
  expect((await repository.putChunk(chunk)).storedBytes).toBe(0);

  await rename(repository.location, `${aside}.original`);
  await rename(aside, repository.location);
  expect(await repository.hasChunk(digest ?? '')).toBe(false);
  expect((await repository.putChunk(chunk)).storedBytes).toBeGreaterThan(0);
  expect(await repository.hasChunk(digest ?? '')).toBe(true);
  expect((await repository.putManifest(manifest(1))).manifest.backupId).toBe(sampleBackupId(1));
});

/** What ingest does while the folder of its repository is not there, or another is there instead: it waits, and makes nothing up. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, eventually, isPermanent } from '@backhaul/kernel';
import { openRepository } from '@backhaul/repository';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type BackupLab,
  backupOf,
  endOf,
  leaseOf,
  never,
  openBackupLab,
  parentAndChild,
  upToCompletion,
} from './backup-lab.fixture.ts';
import { childJobStream } from './child-job.ts';
import { completeBackup } from './complete-backup.ts';
import { patienceOf } from './patience.fixture.ts';
import { runChildJob } from './run-child-job.ts';

let lab: BackupLab;
beforeAll(async () => {
  lab = await openBackupLab();
});
afterAll(() => lab?.close());

/** Until work that needs the repository waits for it, for this reason. */
const waits = (pattern: string) =>
  eventually(`a wait because of ${pattern}`, 20_000, () =>
    lab.parts.patience.reason?.match(pattern) ? true : undefined,
  );

/** Has the folder gone, then empty as a mount point is, then with another repository, then back; `meanwhile` looks at each. */
async function whileAway(work: () => Promise<unknown>, meanwhile: () => Promise<void>): Promise<void> {
  const { location, repositoryId } = lab.repository;
  const aside = join(lab.directory, 'aside');
  await rename(location, aside);
  const working = work();
  try {
    await waits('there is no repository.json');
    await mkdir(location);
    await meanwhile();
    expect(await readdir(location)).toEqual([]);
    const other = await openRepository({ location, workers: 1 });
    await waits(`${repositoryId}.*${other.repositoryId} is there instead`);
    await meanwhile();
    expect((await other.listManifests()).manifests).toEqual([]);
    expect(await readdir(location)).not.toContain('chunks');
    await other.close();
  } finally {
    await rm(location, { recursive: true, force: true });
    await rename(aside, location);
  }
  await working;
  expect(lab.parts.patience.reason).toBeUndefined();
}

test('a folder that is gone is no reason to read a disk as a full, nor is another repository: both are waited for', async () => {
  const { one, started } = await parentAndChild(lab, 'gone and back');
  await whileAway(
    () => runChildJob(lab.parts, leaseOf(one, 1), never),
    async () => expect(await started()).toEqual([]),
  );
  expect(await started()).toMatchObject([{ kind: 'incremental', kindReason: null }]);
});

test('no restore point is made while its repository is away: it is made when that is back, and in no other', async () => {
  const one = backupOf(lab, 'made when it is back');
  const cause = await upToCompletion(lab, one);
  await whileAway(
    () => completeBackup(lab.parts, cause, never),
    async () => expect(await endOf(lab, one.backupId)).toEqual([]),
  );
  expect((await endOf(lab, one.backupId)).map(({ type }) => type)).toEqual(['BackupCompleted']);
});

test('a backup that has waited too long ends with the reason, and no attempt is held against its proxy', async () => {
  const { one, started } = await parentAndChild(lab, 'too long');
  const aside = join(lab.directory, 'aside');
  await rename(lab.repository.location, aside);
  const hasty = { ...lab.parts, patience: patienceOf(0.1) };
  await runChildJob(hasty, leaseOf(one, 1), never).finally(() => rename(aside, lab.repository.location));
  expect(await started()).toEqual([]);
  const refusal = { code: 'RepositoryAway', message: expect.stringContaining(lab.repository.location) };
  expect(await endOf(lab, one.backupId)).toMatchObject([{ type: 'BackupFailed', data: { refusal } }]);
});

test('a piece that was received and is not in the repository makes the backup fail, and leaves no manifest', async () => {
  const one = backupOf(lab, 'a hole');
  const cause = await upToCompletion(lab, one);
  const [, piece] = await Array.fromAsync(lab.parts.store.readStream(childJobStream(one.childJobId)));
  if (piece?.type !== 'ChunkReceived' || piece.data.digest === null) throw new Error('A piece was received');
  const { digest } = piece.data;
  await rm(join(lab.repository.location, 'chunks', digest.slice(0, 2), digest));
  const failure = await completeBackup(lab.parts, cause, never).catch((error: unknown) => error);
  expect(isPermanent(failure)).toBe(true);
  expect(describeError(failure)).toMatch(
    new RegExp(`${digest}.*offset 0 of disk vda.*${lab.repository.repositoryId}`),
  );
  expect(await lab.repository.readManifest(one.backupId)).toBeUndefined();
});

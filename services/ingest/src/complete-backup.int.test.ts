/** Restore points against a real log and a real repository: when one is made, and when it must not be made. */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { streamName } from '@backhaul/contracts';
import { derivedId, describeError, eventually, MiB } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  AT,
  type BackupLab,
  backupOf,
  endOf,
  leaseOf,
  never,
  openBackupLab,
  parentAndChild,
  upToCompletion,
} from './backup-lab.fixture.ts';
import { completeBackup, giveUpBackup } from './complete-backup.ts';
import { runChildJob } from './run-child-job.ts';

let lab: BackupLab;
beforeAll(async () => {
  lab = await openBackupLab();
});
afterAll(() => lab?.close());

test('with every child job in, the manifest is made and then said, once however often it is asked', async () => {
  const one = backupOf(lab, 'whole');
  const cause = await upToCompletion(lab, one);
  await completeBackup(lab.parts, cause, never);
  await completeBackup(lab.parts, cause, never);
  const events = await endOf(lab, one.backupId);
  expect(events.map(({ type }) => type)).toEqual(['BackupCompleted']);
  const stored = await lab.repository.readManifest(one.backupId);
  expect(events[0]?.data).toMatchObject({ restorePoint: { manifestDigest: stored?.digest, takenAt: AT } });
});

test('two instants never make a restore point: the backup fails, and says so', async () => {
  const one = backupOf(lab, 'two instants');
  const cause = await upToCompletion(lab, one, [AT, '2026-01-01T00:05:00.000Z']);
  const failure = await completeBackup(lab.parts, cause, never).catch((error: unknown) => error);
  expect(failure).toMatchObject({ permanent: true, message: expect.stringMatching(/two instants/) });
  await giveUpBackup(lab.parts, cause, failure);
  await giveUpBackup(lab.parts, cause, failure);
  const events = await endOf(lab, one.backupId);
  expect(events.map(({ type }) => type)).toEqual(['BackupFailed']);
  expect(events[0]?.data).toMatchObject({ refusal: { code: 'RestorePointNotMade' } });
  expect(await lab.repository.readManifest(one.backupId)).toBeUndefined();
});

test('a snapshot that was said again of the same instant is the same snapshot', async () => {
  const one = backupOf(lab, 'served again');
  await completeBackup(lab.parts, await upToCompletion(lab, one, [AT, AT]), never);
  expect((await endOf(lab, one.backupId)).map(({ type }) => type)).toEqual(['BackupCompleted']);
});

test('while the log cannot be read as far as the news, nothing is concluded from it', async () => {
  const one = backupOf(lab, 'log behind');
  const gate = Promise.withResolvers<void>();
  const appended = Promise.withResolvers<void>();
  // A writer that has its place in the log and does not commit: readers may go no further, for it may come before others.
  const slow = lab.stores.planner.transaction(async (transaction) => {
    await transaction.append(
      [
        {
          stream: streamName('plan', derivedId('test', 'slow writer')),
          expected: 'none',
          events: [{ type: 'ProxiesCalculated', data: one.plan }],
        },
      ],
      { commandId: 'slow', metadata: { correlation: 'slow', causation: 'test', actor: 'planner' } },
    );
    appended.resolve();
    await gate.promise;
  });
  try {
    await appended.promise;
    const cause = await upToCompletion(lab, one);
    const failure = await completeBackup(lab.parts, cause, never).catch((error: unknown) => error);
    expect(failure).toMatchObject({ permanent: false, code: 'LogBehind' });
    expect(await endOf(lab, one.backupId)).toEqual([]);
    gate.resolve();
    await slow;
    await completeBackup(lab.parts, cause, never);
    expect((await endOf(lab, one.backupId)).map(({ type }) => type)).toEqual(['BackupCompleted']);
  } finally {
    gate.resolve();
    await slow.catch(() => undefined);
  }
});

test('a manifest that cannot be read for a moment is no reason to read a disk in another way; one that is gone is', async () => {
  const { parent, one, started } = await parentAndChild(lab, 'for a moment');
  const manifest = join(lab.repository.location, 'manifests', `${parent.backupId}.json`);
  await rename(manifest, `${manifest}.away`);
  // A folder where the file belongs: there, and not to be read.
  await mkdir(manifest);
  const working = runChildJob(lab.parts, leaseOf(one, 2), never);
  const { patience } = lab.parts;
  await eventually('a wait for it', 20_000, () => patience.reason?.includes('EISDIR') || undefined);
  expect(await started()).toEqual([]);

  await rm(manifest, { recursive: true });
  await working;
  expect((await started()).at(-1)).toMatchObject({
    kind: 'full',
    kindReason: expect.stringMatching(/is not in the repository/),
  });

  await rename(`${manifest}.away`, manifest);
  await runChildJob(lab.parts, leaseOf(one, 3), never);
  expect((await started()).at(-1)).toMatchObject({ kind: 'incremental', kindReason: null });
});

test('a chunk that is found to be damaged while the backup runs is in no restore point, and the next backup stores it anew', async () => {
  const one = backupOf(lab, 'rotten meanwhile');
  const cause = await upToCompletion(lab, one);
  const content = Buffer.alloc(4 * MiB, 'rotten meanwhile');
  const digest = String((await lab.repository.putChunk(content)).digest);
  await writeFile(join(lab.repository.location, 'chunks', digest.slice(0, 2), digest), 'no chunk');
  await expect(lab.repository.readChunk(digest)).rejects.toThrow(/damaged/);
  const failure = await completeBackup(lab.parts, cause, never).catch((error: unknown) => error);
  expect(describeError(failure)).toMatch(new RegExp(`${digest}.*offset 0 of disk vda.*damaged`));
  expect(await lab.repository.readManifest(one.backupId)).toBeUndefined();
  await giveUpBackup(lab.parts, cause, failure);
  const refusal = { code: 'RestorePointNotMade', wayOut: expect.stringMatching(/^Start the backup again/) };
  expect(await endOf(lab, one.backupId)).toMatchObject([{ type: 'BackupFailed', data: { refusal } }]);
  expect((await lab.repository.putChunk(content)).storedBytes).toBeGreaterThan(0);
  expect(await lab.repository.damagedChunks()).toEqual(new Set());
});

test('a parent whose map cannot be read is no parent: the disk is read as a full, and the reason said', async () => {
  const { parent, one, started } = await parentAndChild(lab, 'rotten map');
  const stored = await lab.repository.readManifest(parent.backupId);
  const map = stored?.manifest.disks[0]?.mapDigest ?? '';
  await writeFile(join(lab.repository.location, 'maps', map.slice(0, 2), map), 'no map');
  await runChildJob(lab.parts, leaseOf(one, 1), never);
  expect(await started()).toMatchObject([
    {
      kind: 'full',
      kindReason: expect.stringMatching(/parent restore point cannot be read.*map of disk vda/),
    },
  ]);
});

/** A backup into a file system that is full: a real one, of a few MiB of memory. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Recorded } from '@backhaul/contracts';
import { eventually, MiB } from '@backhaul/kernel';
import { expect, onTestFinished, test } from 'vitest';
import { type BackupLab, endOf, never, openBackupLab } from './backup-lab.fixture.ts';
import { completedAndRestored, leasedNoise, SIZE } from './noise-disk.fixture.ts';
import { patienceOf } from './patience.fixture.ts';
import { runChildJob } from './run-child-job.ts';

const run = promisify(execFile);
/** Room for some of the disk. */
const ROOM = 'size=10m';

/** Only root may mount, and not in every container: elsewhere these tests say that they were skipped. */
async function mountAt(folder: string): Promise<boolean> {
  return await run('mount', ['-t', 'tmpfs', '-o', ROOM, 'backhaul-test', folder]).then(
    () => true,
    () => false,
  );
}

async function fullLab(skip: (why: string) => never): Promise<{ lab: BackupLab; location: string }> {
  const location = await mkdtemp(join(tmpdir(), 'bh-full-'));
  onTestFinished(() => rm(location, { recursive: true, force: true }));
  if (!(await mountAt(location))) skip('a file system cannot be mounted here');
  onTestFinished(async () => void (await run('umount', ['--lazy', location])));
  const lab = await openBackupLab({ location });
  onTestFinished(() => lab.close());
  return { lab, location };
}

test('a child job goes on under its lease when there is room again, reads nothing twice, and its restore point is whole', async ({
  skip,
}) => {
  const { lab, location } = await fullLab(skip);
  const { one, event, story, content } = await leasedNoise(lab, 'full');
  const working = runChildJob(lab.parts, event, never);
  await eventually(
    'a wait for room',
    20_000,
    () => lab.parts.patience.reason?.includes('ENOSPC') || undefined,
  );
  const types = async () => new Set((await story()).map(({ type }) => type));
  await eventually('the pieces that had room', 10_000, async () =>
    (await types()).has('ChunkReceived') ? true : undefined,
  );
  await run('mount', ['-o', 'remount,size=64m', location]);
  await working;

  const events = await story();
  const completed = events.at(-1) as Recorded<'ChildJobCompleted'>;
  expect(events.map(({ type }) => type)).toEqual([
    'ChildJobStarted',
    ...Array(SIZE / (4 * MiB)).fill('ChunkReceived'),
    'ChildJobCompleted',
  ]);
  expect(completed.data).toMatchObject({ readBytes: SIZE, resumedBytes: 0, attempt: 1 });
  expect(lab.parts.patience.reason).toBeUndefined();

  const restored = await completedAndRestored(lab, one.backupId, completed);
  expect(content.equals(restored)).toBe(true);
});

test('a repository that stays full ends the backup and says so, and nobody is told that a proxy was interrupted', async ({
  skip,
}) => {
  const { lab } = await fullLab(skip);
  const { one, event, story } = await leasedNoise(lab, 'stays full');
  await runChildJob({ ...lab.parts, patience: patienceOf(0.3) }, event, never);
  expect((await story()).map(({ type }) => type)).not.toContain('ChildJobInterrupted');
  const refusal = { code: 'RepositoryFull', message: expect.stringContaining('ENOSPC') };
  expect(await endOf(lab, one.backupId)).toMatchObject([{ type: 'BackupFailed', data: { refusal } }]);
});

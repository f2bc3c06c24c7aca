/** A backup into a file system that hangs and does not fail: it counts as one that fails, and is waited for as that is. */

import type { Recorded } from '@backhaul/contracts';
import { eventually } from '@backhaul/kernel';
import { freezingFolder } from '@backhaul/repository/testing';
import { expect, onTestFinished, test } from 'vitest';
import { endOf, never, openBackupLab } from './backup-lab.fixture.ts';
import { completedAndRestored, leasedNoise } from './noise-disk.fixture.ts';
import { patienceOf } from './patience.fixture.ts';
import { runChildJob } from './run-child-job.ts';

/** The file system hangs from the moment on that the first piece is read. */
async function frozenLab(skip: (why: string) => never) {
  const frozen = (await freezingFolder()) ?? skip('a file system cannot be mounted here');
  // Two puts that hang leave two of this process' threads for its files.
  const lab = await openBackupLab({ location: frozen.location, answerMilliseconds: 500, buffers: 2 });
  onTestFinished(() => lab.close());
  await frozen.freeze();
  return { lab, frozen };
}

test('a child job waits for a repository that hangs, under its lease, and goes on when that answers', async ({
  skip,
}) => {
  const { lab, frozen } = await frozenLab(skip);
  const { one, event, story, content } = await leasedNoise(lab, 'hung');
  const working = runChildJob(lab.parts, event, never);
  await eventually(
    'a wait',
    20_000,
    () => lab.parts.patience.reason?.includes('the file system hangs') || undefined,
  );
  // Those that come meanwhile hang at nothing.
  await lab.repository.requireThere();
  await frozen.thaw();
  await working;
  expect(lab.parts.patience.reason).toBeUndefined();
  const events = await story();
  expect(new Set(events.map(({ type }) => type))).toEqual(
    new Set(['ChildJobStarted', 'ChunkReceived', 'ChildJobCompleted']),
  );

  const restored = await completedAndRestored(
    lab,
    one.backupId,
    events.at(-1) as Recorded<'ChildJobCompleted'>,
  );
  expect(content.equals(restored)).toBe(true);
});

test('a repository that hangs for longer than patience lasts ends the backup, and its snapshot goes', async ({
  skip,
}) => {
  const { lab, frozen } = await frozenLab(skip);
  const { one, event, story } = await leasedNoise(lab, 'hangs on');
  await runChildJob({ ...lab.parts, patience: patienceOf(1) }, event, never);
  expect((await story()).map(({ type }) => type)).not.toContain('ChildJobInterrupted');
  const refusal = { code: 'RepositoryFailing', message: expect.stringContaining('the file system hangs') };
  expect(await endOf(lab, one.backupId)).toMatchObject([{ type: 'BackupFailed', data: { refusal } }]);
  await frozen.thaw();
});

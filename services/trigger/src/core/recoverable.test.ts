import { type Event, Policy } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { recoverable } from './recoverable.ts';
import { asked, at, backupIdOf, old, restorePointOf } from './requests.fixture.ts';
import { type Run, run } from './run.ts';

const backupId = backupIdOf('old');
const of = { backupId, ...old.source };
const refusal = { code: 'ImageCorrupt', message: 'Disk vda cannot be read.' };
const completed: Event = {
  type: 'BackupCompleted',
  data: {
    ...of,
    kind: 'full',
    mode: 'proxy-vm',
    totals: { diskBytes: 0, readBytes: 0, storedBytes: 0, zeroBytes: 0, chunks: 0, newChunks: 0 },
    restorePoint: old.restorePoint,
    completedAt: at,
  },
};
const runs: Run = { orders: 0, state: 'triggered', asked: asked('old') };

test('a backup that completed is recovered from its restore point', () => {
  expect(recoverable(backupId, runs, [completed])).toEqual({ ok: true, value: old });
});

test('a restore point is enough: nobody here need have asked for its backup', () => {
  expect(recoverable(backupId, run.initialState, [completed])).toEqual({ ok: true, value: old });
});

test('what is no restore point is refused with what became of it', () => {
  const { purpose: _, ...data } = asked('old', Policy.parse({}));
  const queued = fold(run.evolve, run.initialState, [
    { type: 'BackupQueued' as const, data: { ...data, behind: restorePointOf('r0').backupId } },
  ]);
  const failed: Event = { type: 'BackupFailed', data: { ...of, refusal, failedAt: at } };
  const planRefused: Event = { type: 'PlanRefused', data: { ...of, refusal } };
  const cases: [Run, Event[], RegExp][] = [
    [run.initialState, [], /^There is no backup/],
    [queued, [], /waits for its turn/],
    [runs, [], /still runs/],
    [runs, [failed], /failed: Disk vda cannot be read/],
    [runs, [planRefused], /never ran: Disk vda cannot be read/],
    [{ state: 'cancelled', asked: asked('old'), reason: 'not needed' }, [], /cancelled.*not needed/],
    [{ state: 'refused', request: '{}', refusal }, [], /never started: Disk vda cannot be read/],
  ];
  for (const [state, ofOthers, message] of cases) {
    expect(recoverable(backupId, state, ofOthers)).toMatchObject({
      ok: false,
      refusal: {
        code: 'UnknownRestorePoint',
        message: expect.stringMatching(message),
        wayOut: expect.stringContaining('backhaul backups'),
      },
    });
  }
});

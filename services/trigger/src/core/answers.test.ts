import type { Event } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { answerAtTheEnd, answerTo } from './answers.ts';
import { backup } from './backup.ts';
import { asked, at, restorePointOf } from './requests.fixture.ts';

const one = asked('r1');
const { backupId } = one;
const refusal = { code: 'ImageCorrupt', message: 'Disk vda cannot be read.' };
const of = { backupId, hostId: 'lab', vmId: 'web-1' };

test('a request is accepted with the id of its backup, also when it is sent again', () => {
  const triggered = fold(backup.evolve, backup.initialState, [
    { type: 'BackupTriggered' as const, data: { ...one, parent: null } },
  ]);
  const accepted = { requestId: 'r1', outcome: 'accepted', backupId };
  expect(answerTo('r1', backupId, triggered)).toEqual(accepted);
});

test('a backup that was cancelled in the line is answered as refused, with the reason', () => {
  const cancelled = fold(backup.evolve, backup.initialState, [
    { type: 'BackupQueued' as const, data: { ...one, behind: asked('r0').backupId } },
    { type: 'BackupCancelled' as const, data: { ...of, cancelledBy: 'ops', reason: 'not needed' } },
  ]);
  expect(answerTo('r1', backupId, cancelled)).toMatchObject({
    outcome: 'refused',
    refusal: { code: 'BackupCancelled', message: expect.stringContaining('not needed') },
  });
});

test('the end of a backup is answered once, by its outcome and not by the end of its run', () => {
  const completed: Event<'BackupCompleted'> = {
    type: 'BackupCompleted',
    data: {
      ...of,
      kind: 'full',
      mode: 'proxy-vm',
      totals: { diskBytes: 0, readBytes: 0, storedBytes: 0, zeroBytes: 0, chunks: 0, newChunks: 0 },
      restorePoint: restorePointOf('r1'),
      completedAt: at,
    },
  };
  expect(answerAtTheEnd('r1', completed)).toEqual({ requestId: 'r1', outcome: 'completed', backupId });
  expect(
    answerAtTheEnd('r1', { type: 'BackupFailed', data: { ...of, refusal, failedAt: at } }),
  ).toMatchObject({ outcome: 'failed', refusal });
  expect(answerAtTheEnd('r1', { type: 'PlanRefused', data: { ...of, refusal } })).toMatchObject({
    outcome: 'refused',
    refusal,
  });
  expect(
    answerAtTheEnd('r1', { type: 'RunClosed', data: { hostId: 'lab', backupId, outcome: 'completed' } }),
  ).toBeUndefined();
});

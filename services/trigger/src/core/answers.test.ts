import type { Event } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import { expect, test } from 'vitest';
import { answerAtTheEnd, answerTo } from './answers.ts';
import { asked, at, backupIdOf, recoveryAsked, restorePointOf } from './requests.fixture.ts';
import { run } from './run.ts';

const { purpose: _, ...one } = asked('r1');
const { purpose: __, ...other } = recoveryAsked('r1');
const { backupId } = one;
const { recoveryId } = other;
const ofBackup = { purpose: 'backup' as const, runId: backupId };
const ofRecovery = { purpose: 'recovery' as const, runId: recoveryId };
const refusal = { code: 'ImageCorrupt', message: 'Disk vda cannot be read.' };
const place = { hostId: 'lab', vmId: 'web-1' };
const of = { backupId, ...place };

test('a request is accepted with the id of its backup or recovery, also when it is sent again', () => {
  const backup = fold(run.evolve, run.initialState, [
    { type: 'BackupTriggered' as const, data: { ...one, parent: null } },
  ]);
  expect(answerTo('r1', ofBackup, backup)).toEqual({ requestId: 'r1', outcome: 'accepted', backupId });
  const recovery = fold(run.evolve, run.initialState, [{ type: 'RecoveryTriggered' as const, data: other }]);
  expect(answerTo('r1', ofRecovery, recovery)).toEqual({ requestId: 'r1', outcome: 'accepted', recoveryId });
});

test('what was cancelled in the line is answered as refused, with the reason', () => {
  const by = { cancelledBy: 'ops', reason: 'not needed' };
  const behind = backupIdOf('r0');
  const backup = fold(run.evolve, run.initialState, [
    { type: 'BackupQueued' as const, data: { ...one, behind } },
    { type: 'BackupCancelled' as const, data: { ...of, ...by } },
  ]);
  expect(answerTo('r1', ofBackup, backup)).toMatchObject({
    outcome: 'refused',
    refusal: { code: 'BackupCancelled', message: expect.stringContaining('not needed') },
  });
  const recovery = fold(run.evolve, run.initialState, [
    { type: 'RecoveryQueued' as const, data: { ...other, behind } },
    { type: 'RecoveryCancelled' as const, data: { recoveryId, ...place, ...by } },
  ]);
  expect(answerTo('r1', ofRecovery, recovery)).toMatchObject({
    outcome: 'refused',
    recoveryId,
    refusal: { code: 'RecoveryCancelled', message: expect.stringContaining('not needed') },
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
    answerAtTheEnd('r1', {
      type: 'RunClosed',
      data: { hostId: 'lab', ...ofBackup, outcome: 'completed' },
    }),
  ).toBeUndefined();
});

test('the end of a recovery is answered by its own id, and not by that of the backup it is of', () => {
  const completed: Event<'RecoveryCompleted'> = {
    type: 'RecoveryCompleted',
    data: {
      ...{ recoveryId, ...place, backupId: other.backupId, mode: 'proxy-vm' },
      totals: { diskBytes: 0, writtenBytes: 0, zeroBytes: 0, verifiedBytes: 0, chunks: 0 },
      ...{ started: false, notStarted: null, completedAt: at },
    },
  };
  expect(answerAtTheEnd('r1', completed)).toEqual({ requestId: 'r1', outcome: 'completed', recoveryId });
  const ends = { recoveryId, ...place, refusal };
  const failed = { ...ends, alternative: null, failedAt: at };
  expect(answerAtTheEnd('r1', { type: 'RecoveryFailed', data: failed })).toEqual({
    ...{ requestId: 'r1', outcome: 'failed', recoveryId, refusal },
  });
  expect(answerAtTheEnd('r1', { type: 'RecoveryPlanRefused', data: ends })).toEqual({
    ...{ requestId: 'r1', outcome: 'refused', recoveryId, refusal },
  });
  const closed = { hostId: 'lab', ...ofRecovery, outcome: 'completed' as const };
  expect(answerAtTheEnd('r1', { type: 'RunClosed', data: closed })).toBeUndefined();
});

import { expect, test } from 'vitest';
import { aboutWhich, type NewsOfRun, react } from './reactions.ts';
import { at, backupIdOf, recoveryIdOf } from './requests.fixture.ts';

const place = { hostId: 'lab', vmId: 'web-1' };
const refusal = { code: 'NoRoom', message: 'There is no room.' };
const recovery = { recoveryId: recoveryIdOf('r1'), ...place };
const backup = { backupId: backupIdOf('r1'), ...place };
const totals = { diskBytes: 0, writtenBytes: 0, zeroBytes: 0, verifiedBytes: 0, chunks: 0 };
const started = { started: false, notStarted: null };

const news: [NewsOfRun, string, object][] = [
  [
    {
      type: 'RecoveryCompleted',
      data: { ...recovery, ...started, backupId: backup.backupId, mode: 'proxy-vm', totals, completedAt: at },
    },
    recovery.recoveryId,
    { type: 'NoteOutcome', ending: { purpose: 'recovery', outcome: 'completed' } },
  ],
  [
    { type: 'RecoveryFailed', data: { ...recovery, refusal, alternative: null, failedAt: at } },
    recovery.recoveryId,
    { type: 'NoteOutcome', ending: { purpose: 'recovery', outcome: 'failed' } },
  ],
  [
    { type: 'RecoveryPlanRefused', data: { ...recovery, refusal } },
    recovery.recoveryId,
    { type: 'NotePlanRefused' },
  ],
  [
    { type: 'BackupFailed', data: { ...backup, refusal, failedAt: at } },
    backup.backupId,
    { type: 'NoteOutcome', ending: { purpose: 'backup', outcome: 'failed', restorePoint: null } },
  ],
  [
    {
      type: 'BackupFailed',
      data: { ...backup, refusal: { code: 'BackupCancelled', message: 'By ops.' }, failedAt: at },
    },
    backup.backupId,
    { type: 'NoteOutcome', ending: { purpose: 'backup', outcome: 'cancelled', restorePoint: null } },
  ],
  [{ type: 'PlanRefused', data: { ...backup, refusal } }, backup.backupId, { type: 'NotePlanRefused' }],
  [
    {
      type: 'RunClosed',
      data: { hostId: 'lab', runId: recovery.recoveryId, purpose: 'recovery', outcome: 'failed' },
    },
    recovery.recoveryId,
    { type: 'NoteRunClosed' },
  ],
];

test.each(news)('$type is about its own run, and asks of the turn what it means', (each, runId, command) => {
  expect(aboutWhich(each).runId).toBe(runId);
  expect(react(each, { ...place, runId })).toMatchObject({ ...command, of: { ...place, runId } });
});

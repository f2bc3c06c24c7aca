import type { Event } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { whatIsInTheWay } from './in-the-way.ts';
import { at, backupIdOf, recoveryIdOf, restorePointOf } from './requests.fixture.ts';

const place = { hostId: 'lab', vmId: 'web-1' };
const recovery = { recoveryId: recoveryIdOf('r1'), ...place };
const backup = { backupId: backupIdOf('r1'), ...place };
const refusal = { code: 'NoRoom', message: 'There is no room.' };
const totals = { diskBytes: 0, writtenBytes: 0, zeroBytes: 0, verifiedBytes: 0, chunks: 0 };
const ofBackup = { purpose: 'backup' as const, runId: backup.backupId };
const ofRecovery = { purpose: 'recovery' as const, runId: recovery.recoveryId };

const exported: Event = { type: 'DataExported', data: { ...recovery, totals, exportedAt: at } };
const completed: Event = {
  type: 'RecoveryCompleted',
  data: {
    ...{ ...recovery, backupId: backup.backupId, mode: 'proxy-vm', totals, completedAt: at },
    ...{ started: false, notStarted: null },
  },
};

test('nothing is in the way of a run of which nothing was said', () => {
  expect(whatIsInTheWay(ofBackup, [])).toBeUndefined();
});

test('an end is in the way, and says what became of the run', () => {
  const backupCompleted: Event = {
    type: 'BackupCompleted',
    data: {
      ...{ ...backup, kind: 'full', mode: 'proxy-vm', restorePoint: restorePointOf('r1'), completedAt: at },
      totals: { diskBytes: 0, readBytes: 0, storedBytes: 0, zeroBytes: 0, chunks: 0, newChunks: 0 },
    },
  };
  const said: [typeof ofBackup | typeof ofRecovery, Event, string][] = [
    [ofBackup, backupCompleted, `Backup ${backup.backupId} has completed.`],
    [
      ofBackup,
      { type: 'BackupFailed', data: { ...backup, refusal, failedAt: at } },
      `Backup ${backup.backupId} has failed: There is no room.`,
    ],
    [
      ofBackup,
      { type: 'PlanRefused', data: { ...backup, refusal } },
      `Backup ${backup.backupId} never ran: There is no room.`,
    ],
    [
      ofRecovery,
      { type: 'RecoveryFailed', data: { ...recovery, refusal, alternative: null, failedAt: at } },
      `Recovery ${recovery.recoveryId} has failed: There is no room.`,
    ],
  ];
  for (const [name, event, message] of said)
    expect(whatIsInTheWay(name, [event])).toMatchObject({ code: 'AlreadyEnded', message });
});

test('a VM that is there, or is being made of written disks, is in the way of taking it back', () => {
  const kept: Event = {
    type: 'TargetKept',
    data: { ...place, runId: recovery.recoveryId, started: true, notStarted: null },
  };
  expect(whatIsInTheWay(ofRecovery, [kept])).toMatchObject({
    code: 'TooLate',
    message: expect.stringContaining('runs already'),
    wayOut: expect.stringContaining('filled'),
  });
  expect(whatIsInTheWay(ofRecovery, [exported])).toMatchObject({ code: 'TooLate' });
  expect(whatIsInTheWay(ofRecovery, [kept, exported, completed])).toMatchObject({ code: 'AlreadyEnded' });
});

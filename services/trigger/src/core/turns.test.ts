import { BackupRequested } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { asked, at, recoveryAsked, recoveryFor, requestFor, restorePointOf } from './requests.fixture.ts';
import { type RunEvent, run } from './run.ts';
import { isPaused } from './run-orders.ts';
import { cancelRun, noteNews, requestRun } from './turns.ts';
import { type VmEvent, vm } from './vm.ts';

const unknown = run.initialState;
const free = vm.initialState;
const ofVm = { hostId: 'lab', vmId: 'web-1' };
const runAfter = (...events: RunEvent[]) => fold(run.evolve, unknown, events);
const vmAfter = (...events: VmEvent[]) => fold(vm.evolve, free, events);

const { purpose: _, ...first } = asked('r1');
const { purpose: __, ...second } = asked('r2');
const of = { ...ofVm, runId: first.backupId };
const ofSecond = { ...ofVm, runId: second.backupId };
const claimed: VmEvent = { type: 'VmClaimed', data: of };
const behind = first.backupId;
const secondWaits: VmEvent = { type: 'VmAwaited', data: { ...ofSecond, behind, asked: asked('r2') } };
const secondQueued: RunEvent = { type: 'BackupQueued', data: { ...second, behind } };

describe('a request', () => {
  test('for a VM that is free triggers the backup and takes the turn, at once', () => {
    expect(requestRun(unknown, free, requestFor('r1'))).toEqual({
      ok: true,
      value: { run: [{ type: 'BackupTriggered', data: { ...first, parent: null } }], vm: [claimed] },
    });
  });

  test('for a VM that is busy queues the backup in both streams', () => {
    expect(requestRun(unknown, vmAfter(claimed), requestFor('r2'))).toEqual({
      ok: true,
      value: { run: [secondQueued], vm: [secondWaits] },
    });
  });

  test('builds on the newest restore point of the VM', () => {
    const restorePoint = restorePointOf('r0');
    const decision = requestRun(unknown, { ...free, restorePoint }, requestFor('r1'));
    expect(decision).toMatchObject({ value: { run: [{ data: { parent: restorePoint } }] } });
  });

  test('sent again changes nothing, by whatever way and whoever sends it', () => {
    const known = runAfter({ type: 'BackupTriggered', data: { ...first, parent: null } });
    const again = requestFor('r1', { origin: { via: 'http', requestId: 'r1', requestedBy: 'ops' } });
    expect(requestRun(known, vmAfter(claimed), again)).toEqual({
      ok: true,
      value: { run: [], vm: [] },
    });
  });

  test('with an id that was used for another request is refused, whatever became of that one', () => {
    const other = requestFor('r1', {
      request: BackupRequested.parse({ requestId: 'r1', host: 'lab', vm: 'web-2' }),
    });
    const started = runAfter({ type: 'BackupTriggered', data: { ...first, parent: null } });
    const refusedBefore = requestRun(unknown, free, requestFor('r1', { hostKnown: false }));
    for (const known of [started, runAfter(...(refusedBefore.ok ? refusedBefore.value.run : []))]) {
      expect(requestRun(known, free, other)).toMatchObject({
        ok: false,
        refusal: { code: 'RequestIdReused' },
      });
    }
  });

  test('that cannot be done is refused with the reason, and stays refused when it is sent again', () => {
    const cases = [
      [requestFor('r1', { hostKnown: false }), free, 'UnknownHost'],
      [requestFor('r1', { policy: undefined }), free, 'UnknownPolicy'],
      [
        requestFor('r2', { policy: asked('r2', { whenVmBusy: 'refuse' }).policy }),
        vmAfter(claimed),
        'VmBusy',
      ],
    ] as const;
    for (const [request, ofVm, code] of cases) {
      const decision = requestRun(unknown, ofVm, request);
      expect(decision).toMatchObject({
        value: { run: [{ type: 'BackupRefused', data: { refusal: { code } } }], vm: [] },
      });
      const refused = runAfter(...(decision.ok ? decision.value.run : []));
      expect(requestRun(refused, free, request)).toEqual({ ok: true, value: { run: [], vm: [] } });
    }
  });
});

describe('news that end a turn', () => {
  const released: VmEvent = {
    type: 'VmReleased',
    data: { ...of, outcome: 'completed', restorePoint: restorePointOf('r1') },
  };
  const ended: VmEvent = {
    type: 'VmBackupEnded',
    data: { ...of, outcome: 'completed', restorePoint: restorePointOf('r1') },
  };

  test('start the next backup in the same moment, with the restore point left behind', () => {
    const state = vmAfter(claimed, secondWaits, ended);
    expect(noteNews(state, { type: 'NoteRunClosed', of }, runAfter(secondQueued))).toEqual({
      ok: true,
      value: {
        vm: [{ type: 'VmRunClosed', data: of }, released, { type: 'VmClaimed', data: ofSecond }],
        run: [{ type: 'BackupTriggered', data: { ...second, parent: restorePointOf('r1') } }],
      },
    });
  });

  test('start nothing while one of the two facts is missing, or when nobody waits', () => {
    const closed = { type: 'NoteRunClosed' as const, of };
    expect(noteNews(vmAfter(claimed, secondWaits), closed, runAfter(secondQueued))).toMatchObject({
      value: { vm: [{ type: 'VmRunClosed' }], run: [] },
    });
    expect(noteNews(vmAfter(claimed, ended), closed, unknown)).toMatchObject({
      value: { vm: [{ type: 'VmRunClosed' }, { type: 'VmReleased' }], run: [] },
    });
  });
});

test('a cancelled backup leaves the line in the same moment', () => {
  const command = {
    purpose: 'backup' as const,
    runId: second.backupId,
    by: 'ops',
    reason: 'not needed',
    at,
  };
  expect(cancelRun(runAfter(secondQueued), vmAfter(claimed, secondWaits), command)).toMatchObject({
    value: {
      run: [{ type: 'BackupCancelled' }],
      vm: [{ type: 'VmReleased', data: { outcome: 'cancelled' } }],
    },
  });
});

test('a backup that is cancelled after it has started keeps the turn until it has ended', () => {
  const order = { purpose: 'backup' as const, runId: first.backupId, by: 'ops', reason: 'not needed', at };
  expect(
    cancelRun(
      runAfter({ type: 'BackupTriggered', data: { ...first, parent: null } }),
      vmAfter(claimed, secondWaits),
      order,
    ),
  ).toMatchObject({
    value: { run: [{ type: 'BackupCancelOrdered' }], vm: [] },
  });
});

test('a backup that was paused in the line has its turn when it comes, and is paused still', () => {
  const { backupId, hostId, vmId } = second;
  const paused: RunEvent = {
    type: 'BackupPaused',
    data: { backupId, hostId, vmId, number: 1, pausedBy: 'ops', reason: 'busy', pausedAt: at },
  };
  const triggered: RunEvent = { type: 'BackupTriggered', data: { ...second, parent: null } };
  const ended: VmEvent = { type: 'VmBackupEnded', data: { ...of, outcome: 'cancelled', restorePoint: null } };
  const closed = { type: 'NoteRunClosed' as const, of };
  expect(
    noteNews(vmAfter(claimed, secondWaits, ended), closed, runAfter(secondQueued, paused)),
  ).toMatchObject({ value: { run: [triggered] } });
  expect(isPaused(runAfter(secondQueued, paused, triggered))).toBe(true);
});

describe('backups of a VM and recoveries to it', () => {
  const { purpose: _, ...recovery } = recoveryAsked('r3');
  const ofRecovery = { ...ofVm, runId: recovery.recoveryId };
  const recoveryClaimed: VmEvent = { type: 'VmClaimed', data: ofRecovery };

  test('wait for each other', () => {
    expect(requestRun(unknown, vmAfter(claimed), recoveryFor('r3'))).toEqual({
      ok: true,
      value: {
        run: [{ type: 'RecoveryQueued', data: { ...recovery, behind } }],
        vm: [{ type: 'VmAwaited', data: { ...ofRecovery, behind, asked: recoveryAsked('r3') } }],
      },
    });
    expect(requestRun(unknown, vmAfter(recoveryClaimed), requestFor('r2'))).toMatchObject({
      value: { run: [{ type: 'BackupQueued', data: { behind: recovery.recoveryId } }] },
    });
  });

  test('are refused where the policy wants no waiting', () => {
    const { policy } = asked('r3', { whenVmBusy: 'refuse' });
    expect(requestRun(unknown, vmAfter(claimed), recoveryFor('r3', {}, { policy }))).toMatchObject({
      value: { run: [{ type: 'RecoveryRefused', data: { refusal: { code: 'VmBusy' } } }], vm: [] },
    });
  });

  test('pass the turn to each other', () => {
    const waits: VmEvent = {
      type: 'VmAwaited',
      data: { ...ofRecovery, behind, asked: recoveryAsked('r3') },
    };
    const ended: VmEvent = { type: 'VmBackupEnded', data: { ...of, outcome: 'failed', restorePoint: null } };
    const ofNext = runAfter({ type: 'RecoveryQueued', data: { ...recovery, behind } });
    expect(noteNews(vmAfter(claimed, waits, ended), { type: 'NoteRunClosed', of }, ofNext)).toMatchObject({
      value: {
        run: [{ type: 'RecoveryTriggered', data: recovery }],
        vm: [{ type: 'VmRunClosed' }, { type: 'VmReleased' }, recoveryClaimed],
      },
    });

    const busy = vmAfter(recoveryClaimed, {
      type: 'VmAwaited',
      data: { ...ofSecond, behind: recovery.recoveryId, asked: asked('r2') },
    });
    const noPlan = { type: 'NotePlanRefused' as const, of: ofRecovery };
    const backupNext = runAfter({ type: 'BackupQueued', data: { ...second, behind: recovery.recoveryId } });
    expect(noteNews({ ...busy, restorePoint: restorePointOf('r0') }, noPlan, backupNext)).toMatchObject({
      value: {
        run: [{ type: 'BackupTriggered', data: { parent: restorePointOf('r0') } }],
        vm: [
          { type: 'VmReleased', data: { outcome: 'refused' } },
          { type: 'VmClaimed', data: ofSecond },
        ],
      },
    });
  });
});

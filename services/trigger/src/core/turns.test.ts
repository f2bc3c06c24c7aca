import { BackupRequested } from '@backhaul/contracts';
import { fold } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { type BackupEvent, backup } from './backup.ts';
import { asked, requestFor, restorePointOf } from './requests.fixture.ts';
import { cancelBackup, noteNews, requestBackup } from './turns.ts';
import { type VmEvent, vm } from './vm.ts';

const unknown = backup.initialState;
const free = vm.initialState;
const [first, second] = [asked('r1'), asked('r2')];
const ofVm = { hostId: 'lab', vmId: 'web-1' };
const backupAfter = (...events: BackupEvent[]) => fold(backup.evolve, unknown, events);
const vmAfter = (...events: VmEvent[]) => fold(vm.evolve, free, events);
const claimed: VmEvent = { type: 'VmClaimed', data: { ...ofVm, backupId: first.backupId } };
const secondWaits: VmEvent = { type: 'VmAwaited', data: { ...second, behind: first.backupId } };
const secondQueued: BackupEvent = { type: 'BackupQueued', data: { ...second, behind: first.backupId } };

describe('a request', () => {
  test('for a VM that is free triggers the backup and takes the turn, at once', () => {
    expect(requestBackup(unknown, free, requestFor('r1'))).toEqual({
      ok: true,
      value: { backup: [{ type: 'BackupTriggered', data: { ...first, parent: null } }], vm: [claimed] },
    });
  });

  test('for a VM that is busy queues the backup in both streams', () => {
    expect(requestBackup(unknown, vmAfter(claimed), requestFor('r2'))).toEqual({
      ok: true,
      value: { backup: [secondQueued], vm: [secondWaits] },
    });
  });

  test('builds on the newest restore point of the VM', () => {
    const restorePoint = restorePointOf('r0');
    const decision = requestBackup(unknown, { ...free, restorePoint }, requestFor('r1'));
    expect(decision).toMatchObject({ value: { backup: [{ data: { parent: restorePoint } }] } });
  });

  test('sent again changes nothing, by whatever way and whoever sends it', () => {
    const known = backupAfter({ type: 'BackupTriggered', data: { ...first, parent: null } });
    const again = requestFor('r1', { origin: { via: 'http', requestId: 'r1', requestedBy: 'ops' } });
    expect(requestBackup(known, vmAfter(claimed), again)).toEqual({
      ok: true,
      value: { backup: [], vm: [] },
    });
  });

  test('with an id that was used for another request is refused, whatever became of that one', () => {
    const other = requestFor('r1', {
      request: BackupRequested.parse({ requestId: 'r1', host: 'lab', vm: 'web-2' }),
    });
    const started = backupAfter({ type: 'BackupTriggered', data: { ...first, parent: null } });
    const refusedBefore = requestBackup(unknown, free, requestFor('r1', { hostKnown: false }));
    for (const known of [started, backupAfter(...(refusedBefore.ok ? refusedBefore.value.backup : []))]) {
      expect(requestBackup(known, free, other)).toMatchObject({
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
      const decision = requestBackup(unknown, ofVm, request);
      expect(decision).toMatchObject({
        value: { backup: [{ type: 'BackupRefused', data: { refusal: { code } } }], vm: [] },
      });
      const refused = backupAfter(...(decision.ok ? decision.value.backup : []));
      expect(requestBackup(refused, free, request)).toEqual({ ok: true, value: { backup: [], vm: [] } });
    }
  });
});

describe('news that end a turn', () => {
  const of = { ...ofVm, backupId: first.backupId };
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
    expect(noteNews(state, { type: 'NoteRunClosed', of }, backupAfter(secondQueued))).toEqual({
      ok: true,
      value: {
        vm: [
          { type: 'VmRunClosed', data: of },
          released,
          { type: 'VmClaimed', data: { ...ofVm, backupId: second.backupId } },
        ],
        backup: [{ type: 'BackupTriggered', data: { ...second, parent: restorePointOf('r1') } }],
      },
    });
  });

  test('start nothing while one of the two facts is missing, or when nobody waits', () => {
    const closed = { type: 'NoteRunClosed' as const, of };
    expect(noteNews(vmAfter(claimed, secondWaits), closed, backupAfter(secondQueued))).toMatchObject({
      value: { vm: [{ type: 'VmRunClosed' }], backup: [] },
    });
    expect(noteNews(vmAfter(claimed, ended), closed, unknown)).toMatchObject({
      value: { vm: [{ type: 'VmRunClosed' }, { type: 'VmReleased' }], backup: [] },
    });
  });
});

test('a cancelled backup leaves the line in the same moment', () => {
  const command = { backupId: second.backupId, cancelledBy: 'ops', reason: 'not needed' };
  expect(cancelBackup(backupAfter(secondQueued), vmAfter(claimed, secondWaits), command)).toMatchObject({
    value: {
      backup: [{ type: 'BackupCancelled' }],
      vm: [{ type: 'VmReleased', data: { outcome: 'cancelled' } }],
    },
  });
});

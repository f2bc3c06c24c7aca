import { fold, refuse } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { asked, old, recoveryAsked, recoveryFor } from './requests.fixture.ts';
import { type RunEvent, run } from './run.ts';
import { requestRun } from './turns.ts';
import { vm } from './vm.ts';

const unknown = run.initialState;
const free = vm.initialState;
const { purpose: _, ...data } = recoveryAsked('r1');
const triggered: RunEvent = { type: 'RecoveryTriggered', data };
const after = (...events: RunEvent[]) => fold(run.evolve, unknown, events);
const nothing = { ok: true, value: { run: [], vm: [] } };

describe('a request for a recovery', () => {
  test('to a name that is free triggers it at once, with the restore point and where that came from', () => {
    expect(requestRun(unknown, free, recoveryFor('r1'))).toEqual({
      ok: true,
      value: {
        run: [triggered],
        vm: [{ type: 'VmClaimed', data: { hostId: 'lab', vmId: 'web-1', runId: data.recoveryId } }],
      },
    });
  });

  test('is for the disks it names, in the order of the restore point, or for all of them', () => {
    const disksOf = (disks?: string[]) => {
      const decision = requestRun(unknown, free, recoveryFor('r1', { disks }));
      const event = decision.ok ? decision.value.run[0] : undefined;
      return event?.type === 'RecoveryTriggered' ? event.data.disks : undefined;
    };
    expect(disksOf()).toEqual(['vdb', 'vda']);
    expect(disksOf(['vda', 'vdb', 'vda'])).toEqual(['vdb', 'vda']);
    expect(disksOf(['vda'])).toEqual(['vda']);
  });

  test('that cannot be done is refused with the reason, and stays refused when it is sent again', () => {
    const noRestorePoint = refuse({ code: 'UnknownRestorePoint', message: 'There is no backup.' });
    const cases = [
      [recoveryFor('r1', {}, { hostKnown: false }), 'UnknownHost'],
      [recoveryFor('r1', {}, { policy: undefined }), 'UnknownPolicy'],
      [recoveryFor('r1', {}, { recoverable: noRestorePoint }), 'UnknownRestorePoint'],
      [recoveryFor('r1', { disks: ['vda', 'vdz'] }), 'UnknownDisk'],
    ] as const;
    for (const [request, code] of cases) {
      const decision = requestRun(unknown, free, request);
      expect(decision).toMatchObject({
        value: { run: [{ type: 'RecoveryRefused', data: { refusal: { code } } }], vm: [] },
      });
      const refused = after(...(decision.ok ? decision.value.run : []));
      expect(requestRun(refused, free, request)).toEqual(nothing);
      expect(requestRun(refused, free, recoveryFor('r1', { start: true }))).toMatchObject({ ok: false });
    }
  });

  test('for an unknown disk is told which there are', () => {
    expect(requestRun(unknown, free, recoveryFor('r1', { disks: ['vda', 'vdz'] }))).toMatchObject({
      value: {
        run: [{ data: { refusal: { message: expect.stringMatching(/no disk vdz: it has vdb, vda/) } } }],
      },
    });
  });

  test('sent again changes nothing, by whatever way, and naming all disks or none', () => {
    const known = after(triggered);
    const overHttp = { origin: { via: 'http' as const, requestId: 'r1', requestedBy: 'ops' } };
    expect(requestRun(known, free, recoveryFor('r1', {}, overHttp))).toEqual(nothing);
    expect(requestRun(known, free, recoveryFor('r1', { disks: ['vda', 'vdb'] }))).toEqual(nothing);
  });

  test('with an id that was used for another recovery is refused, whatever differs', () => {
    const others = [
      { backup: asked('other').backupId },
      { host: 'lab-2' },
      { vm: 'web-2' },
      { disks: ['vda'] },
      { disks: ['vda', 'vdb', 'vdz'] },
      { mode: 'direct-to-host' },
      { policy: 'gold' },
      { replace: true },
      { start: true },
      { verify: true },
      { instant: true },
      { machine: { cpus: 2 } },
      { machine: { memoryMiB: 64 } },
    ];
    for (const other of others) {
      expect(requestRun(after(triggered), free, recoveryFor('r1', other))).toMatchObject({
        ok: false,
        refusal: { code: 'RequestIdReused' },
      });
    }
  });

  test('that is instant has its VM started, whether it says so or not, and is the same however often it is sent', () => {
    const instant = recoveryFor('r1', { instant: true, fillBytesPerSecond: 4096 });
    const decision = requestRun(unknown, free, instant);
    const run = decision.ok ? decision.value.run : [];
    expect(run).toMatchObject([{ data: { start: true, instant: { fillBytesPerSecond: 4096 } } }]);
    expect(requestRun(after(...run), free, instant)).toEqual(nothing);
    const same = recoveryFor('r1', { instant: true, start: true, fillBytesPerSecond: 4096 });
    expect(requestRun(after(...run), free, same)).toEqual(nothing);
    const faster = recoveryFor('r1', { instant: true, fillBytesPerSecond: 8192 });
    expect(requestRun(after(...run), free, faster)).toMatchObject({ ok: false });
  });

  test('over the VM that was backed up is left to the host, which knows whether it is there', () => {
    const { vmId, hostId } = old.source;
    const decision = requestRun(unknown, free, recoveryFor('r1', { host: hostId, vm: vmId }));
    expect(decision).toMatchObject({ value: { run: [{ type: 'RecoveryTriggered' }] } });
  });
});

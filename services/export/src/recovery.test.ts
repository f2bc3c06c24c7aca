import type { Event } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { damaged, isWorthAnotherPort, readReason, reasonOf } from './reasons.ts';
import { AT, recoveryPlan } from './recovery.fixture.ts';
import { dataExported, evolve, newRecovery, recoveryCompleted, recoveryFailed } from './recovery.ts';

const recoveryId = '5a6a3f0e-3c39-5c0c-8a53-0d0ef8f5a001';
const plan = recoveryPlan(
  recoveryId,
  { backupId: '5a6a3f0e-3c39-5c0c-8a53-0d0ef8f5a002', manifestDigest: 'a'.repeat(64), sizeBytes: 4096 },
  [{ offset: 0, length: 4096 }],
);
const totals = { diskBytes: 4096, writtenBytes: 4096, zeroBytes: 0, verifiedBytes: 4096, chunks: 1 };
const of = { recoveryId, hostId: 'lab', vmId: 'web2' };
const kept = { runId: recoveryId, hostId: 'lab', vmId: 'web2', started: false, notStarted: 'no room' };
const refusal = { code: 'NoSpace', message: 'full' };

const exported = (recovery = newRecovery) => dataExported(recovery, plan, totals, AT);
const completed = (recovery = newRecovery) => recoveryCompleted(recovery, plan, kept, AT);
const failed = (recovery = newRecovery) =>
  recoveryFailed(recovery, { ...of, refusal, alternative: null }, AT);
const after = (...events: readonly Event[]) => events.reduce(evolve, newRecovery);

describe('a recovery', () => {
  test('is exported once, and then completed once with what was exported', () => {
    const whole = after(...exported());
    expect(exported(whole)).toEqual([]);
    const [end] = completed(whole);
    expect(end).toMatchObject({
      type: 'RecoveryCompleted',
      data: { totals, started: false, notStarted: 'no room' },
    });
    const over = after(...exported(), ...completed(whole));
    expect([exported(over), completed(over), failed(over)]).toEqual([[], [], []]);
  });

  test('that has failed stays so, whatever comes late', () => {
    const over = after(...failed());
    expect([exported(over), completed(over), failed(over)]).toEqual([[], [], []]);
  });

  test('fails also after all was exported: no VM could be made of it', () => {
    expect(failed(after(...exported()))).toMatchObject([{ type: 'RecoveryFailed', data: { refusal } }]);
  });

  test('is never called completed before all of it was exported', () => {
    expect(() => completed()).toThrow(/before all of it was exported/);
  });
});

describe('a reason', () => {
  const noSpace = new Fault('Writing failed', {
    cause: new Fault('The server answered ENOSPC', { code: 'ENOSPC' }),
  });

  test('that lasts has its code in front, and is known again', () => {
    expect(readReason(reasonOf(noSpace))).toEqual({
      ...{ code: 'NoSpace', message: 'Writing failed: The server answered ENOSPC' },
    });
    expect(readReason(reasonOf(damaged('chunk a is gone')))).toMatchObject({ code: 'RestorePointDamaged' });
    expect(readReason(reasonOf(new Error('the proxy has gone')))).toBeUndefined();
  });

  test('that lasts is worth no other port, and neither is one that a port cannot mend', () => {
    expect(
      [noSpace, damaged('gone'), new Fault('read-only', { permanent: true })].map(isWorthAnotherPort),
    ).toEqual([...[false, false, false]]);
    const garbled = new Fault('not NBD', { permanent: true, code: 'NbdProtocolViolation' });
    expect([garbled, new Fault('timed out', { code: 'TimedOut' })].map(isWorthAnotherPort)).toEqual([
      true,
      true,
    ]);
  });
});

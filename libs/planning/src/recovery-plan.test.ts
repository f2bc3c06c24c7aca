import { Policy, type RecoveryInspection } from '@backhaul/contracts';
import { derivedId, fold, GiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { emptyView } from './pool-view.ts';
import { type RecoveryPlanEvent, recoveryPlan, type TriggeredRecovery } from './recovery-plan.ts';
import { type PlanCommand, planningOf } from './run-plan.ts';
import type { ShadowPlan } from './shadow-plan.ts';

const recoveryId = derivedId('recovery', 'r2');
const backupId = derivedId('backup', 'r1');
const triggered: TriggeredRecovery = {
  recoveryId,
  backupId,
  source: { hostId: 'lab', vmId: 'web-1' },
  restorePoint: { backupId, manifestDigest: 'ab'.repeat(32), takenAt: '2026-01-01T00:00:00Z', disks: [] },
  hostId: 'lab',
  vmId: 'web-2',
  disks: ['vda'],
  mode: 'auto',
  policy: Policy.parse({}),
  priority: 'high',
  replace: false,
  start: true,
  verify: false,
  machine: { memoryMiB: 512, cpus: 1 },
  origin: { via: 'nats', requestId: 'r2' },
  requestedAt: '2026-01-02T00:00:00Z',
};
const inspection: RecoveryInspection = {
  hostId: 'lab',
  vmId: 'web-2',
  disks: [
    { diskId: 'vda', sizeBytes: 100 * GiB, data: { bucketBytes: 50 * GiB, buckets: [30 * GiB, 10 * GiB] } },
  ],
  modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
  freeBytes: 41 * GiB,
};
const inspected: RecoveryPlanEvent = {
  type: 'RecoveryInspected',
  data: { ...inspection, recoveryId, backupId },
};
const refusal = { code: 'VmExists', message: 'There is a VM web-2.', wayOut: 'Take another name.' };
const refused: RecoveryPlanEvent = {
  type: 'RecoveryPlanRefused',
  data: { recoveryId, hostId: 'lab', vmId: 'web-2', refusal },
};

const planning = planningOf(recoveryPlan);
type Command = PlanCommand<TriggeredRecovery, RecoveryInspection>;
const given = (...history: RecoveryPlanEvent[]) => ({
  when(command: Command): (RecoveryPlanEvent | ShadowPlan)[] {
    const decision = planning.decide(fold(planning.evolve, planning.initialState, history), command);
    return decision.ok ? decision.value : [];
  },
});
const pool = { activeProxies: [{ proxyId: 'p1', ports: 4 }] };
const record: Command = { type: 'InspectAndCalculate', triggered, inspection, pool };
const calculate: Command = { type: 'CalculateProxies', triggered, pool };
const refuse: Command = { type: 'RefusePlan', triggered, refusal };

describe('the plan of a recovery', () => {
  test('begins with what was found in the restore point and at the host, recorded once', () => {
    const [first, calculated] = given().when(record);
    expect(first).toEqual(inspected);
    expect(given(inspected).when(record)).toEqual([calculated]);
  });

  test('is made from the recorded inspection, with the second quantity, and shares what is active', () => {
    expect(given(inspected).when(calculate)).toMatchObject([
      {
        type: 'RecoveryProxiesCalculated',
        data: {
          recoveryId,
          mode: 'proxy-vm',
          arithmetic: { totalBytes: 40 * GiB, streams: 2, activeProxies: 1 },
          proxies: 1,
          expectedShared: 1,
        },
      },
    ]);
  });

  test('of two inspections is made from the one on record', () => {
    const other = { ...inspection, freeBytes: 0 };
    expect(given(inspected).when({ ...record, inspection: other })).toMatchObject([
      { type: 'RecoveryProxiesCalculated' },
    ]);
    const later: RecoveryPlanEvent = { type: 'RecoveryInspected', data: { ...other, recoveryId, backupId } };
    expect(given(inspected, later).when(calculate)).toMatchObject([{ type: 'RecoveryProxiesCalculated' }]);
  });

  test('is made once, however often it is asked for', () => {
    const [calculated] = given(inspected).when(calculate);
    for (const command of [record, calculate, refuse]) {
      expect(given(inspected, calculated as RecoveryPlanEvent).when(command)).toEqual([]);
      expect(given(refused).when(command)).toEqual([]);
    }
  });

  test('is refused, after its inspection is recorded, when there is too little room', () => {
    const full = { ...inspection, freeBytes: 39 * GiB };
    expect(given().when({ ...record, inspection: full, pool: emptyView })).toMatchObject([
      { type: 'RecoveryInspected', data: { freeBytes: 39 * GiB } },
      { type: 'RecoveryPlanRefused', data: { recoveryId, refusal: { code: 'NotEnoughSpace' } } },
    ]);
  });

  test('is refused when the restore point or the host said no', () => {
    expect(given().when(refuse)).toEqual([refused]);
  });

  test('before its inspection is a bug, not a guess', () => {
    expect(() => given().when(calculate)).toThrow(/before its inspection/);
  });
});

import { type Inspection, Policy } from '@backhaul/contracts';
import { derivedId, fold, GiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { type BackupPlanEvent, backupPlan, type TriggeredBackup } from './backup-plan.ts';
import { emptyView } from './pool-view.ts';
import { type PlanCommand, planningOf } from './run-plan.ts';
import type { ShadowPlan } from './shadow-plan.ts';

type Command = PlanCommand<TriggeredBackup, Inspection>;

const planning = planningOf(backupPlan);

const backupId = derivedId('backup', 'r1');
const triggered: TriggeredBackup = {
  backupId,
  hostId: 'lab',
  vmId: 'web-1',
  kind: 'auto',
  mode: 'auto',
  policy: Policy.parse({}),
  priority: 'normal',
  origin: { via: 'nats', requestId: 'r1' },
  requestedAt: '2026-01-01T00:00:00.000Z',
  parent: null,
};
const inspection: Inspection = {
  hostId: 'lab',
  vmId: 'web-1',
  disks: [
    {
      diskId: 'vda',
      sizeBytes: 100 * GiB,
      identity: { format: 'raw', inode: '1', sizeBytes: 100 * GiB },
      allocated: { bucketBytes: 100 * GiB, buckets: [40 * GiB] },
      tracking: { state: 'unusable', code: 'NoParent', reason: 'first backup of this VM' },
    },
  ],
  modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
};
const inspected: BackupPlanEvent = { type: 'VmInspected', data: { ...inspection, backupId } };
const refusal = { code: 'ImageCorrupt', message: 'Disk vda cannot be read.', wayOut: 'Repair it.' };
const refused: BackupPlanEvent = {
  type: 'PlanRefused',
  data: { backupId, hostId: 'lab', vmId: 'web-1', refusal },
};

const given = (...history: BackupPlanEvent[]) => ({
  when(command: Command): (BackupPlanEvent | ShadowPlan)[] {
    const decision = planning.decide(fold(planning.evolve, planning.initialState, history), command);
    return decision.ok ? decision.value : [];
  },
});
const record: Command = { type: 'InspectAndCalculate', triggered, inspection, pool: emptyView };
const calculate: Command = { type: 'CalculateProxies', triggered, pool: emptyView };
const refuse: Command = { type: 'RefusePlan', triggered, refusal };

describe('the plan of a backup', () => {
  test('begins with what was found at the VM, recorded once', () => {
    const [first, calculated] = given().when(record);
    expect(first).toEqual(inspected);
    expect(given(inspected).when(record)).toEqual([calculated]);
  });

  test('is made from the recorded inspection, also when that was recorded by another process', () => {
    expect(given(inspected).when(calculate)).toMatchObject([
      {
        type: 'ProxiesCalculated',
        data: { backupId, mode: 'proxy-vm', arithmetic: { totalBytes: 40 * GiB, childJobs: 3 } },
      },
    ]);
  });

  test('is made once, however often it is asked for', () => {
    const [calculated] = given(inspected).when(calculate);
    for (const command of [record, calculate, refuse]) {
      expect(given(inspected, calculated as BackupPlanEvent).when(command)).toEqual([]);
      expect(given(refused).when(command)).toEqual([]);
    }
  });

  test('is refused with the reason when the policy allows no child job', () => {
    const command = {
      ...calculate,
      triggered: { ...triggered, policy: Policy.parse({ maxPortsPerProxy: 0 }) },
    };
    expect(given(inspected).when(command)).toMatchObject([
      { type: 'PlanRefused', data: { vmId: 'web-1', refusal: { code: 'NoChildJobFits' } } },
    ]);
  });

  test('is refused when the VM could not be inspected', () => {
    expect(given().when(refuse)).toEqual([refused]);
  });

  test('before its inspection is a bug, not a guess', () => {
    expect(() => given().when(calculate)).toThrow(/before its inspection/);
  });
});

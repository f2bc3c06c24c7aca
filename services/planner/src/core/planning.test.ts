import { type Event, type Inspection, Policy } from '@backhaul/contracts';
import { derivedId, fold, GiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { type PlanCommand, type PlanEvent, planning, type Triggered } from './planning.ts';
import { emptyPool, evolvePool } from './pool-view.ts';

const backupId = derivedId('backup', 'r1');
const triggered: Triggered = {
  backupId,
  hostId: 'lab',
  vmId: 'web-1',
  kind: 'auto',
  mode: 'auto',
  policy: Policy.parse({}),
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
const inspected: PlanEvent = { type: 'VmInspected', data: { ...inspection, backupId } };
const refusal = { code: 'ImageCorrupt', message: 'Disk vda cannot be read.', wayOut: 'Repair it.' };
const refused: PlanEvent = { type: 'PlanRefused', data: { backupId, hostId: 'lab', vmId: 'web-1', refusal } };

const given = (...history: PlanEvent[]) => ({
  when(command: PlanCommand): PlanEvent[] {
    const decision = planning.decide(fold(planning.evolve, planning.initialState, history), command);
    return decision.ok ? decision.value : [];
  },
});
const record: PlanCommand = { type: 'InspectAndCalculate', triggered, inspection, pool: emptyPool };
const calculate: PlanCommand = { type: 'CalculateProxies', triggered, pool: emptyPool };
const refuse: PlanCommand = { type: 'RefusePlan', triggered, refusal };

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
      expect(given(inspected, calculated as PlanEvent).when(command)).toEqual([]);
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

test('a pool holds the proxies that were activated and are neither lost nor deactivated', () => {
  const activated = (proxyId: string, ports: number): Event => ({
    type: 'ProxyActivated',
    data: {
      hostId: 'lab',
      proxyId,
      ports: Array.from({ length: ports }, (_, port) => ({ port, endpoint: 'nbd://127.0.0.1:1' })),
    },
  });
  const ended = (type: 'ProxyLost' | 'ProxyDeactivated', proxyId: string): Event => ({
    type,
    data: { hostId: 'lab', proxyId, reason: 'idle' },
  });
  const pool = fold(evolvePool, emptyPool, [
    activated('p1', 4),
    activated('p2', 2),
    activated('p3', 4),
    activated('p2', 2),
    ended('ProxyLost', 'p1'),
    ended('ProxyDeactivated', 'p3'),
  ]);
  expect(pool).toEqual({ activeProxies: [{ proxyId: 'p2', ports: 2 }] });
});

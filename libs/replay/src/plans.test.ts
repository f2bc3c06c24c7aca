/** Plans that are made again from a log: of what was found, with the proxies that were seen, under the policy of then or another one. */
import {
  catalogue,
  defaultPolicy,
  type Event,
  type Inspection,
  type Policy,
  type StoredRecord,
} from '@backhaul/contracts';
import { derivedId, fold, GiB } from '@backhaul/kernel';
import { backupPlan, emptyView, evolveView, planningOf, type TriggeredBackup } from '@backhaul/planning';
import { beforeEach, describe, expect, test } from 'vitest';
import { checkLog } from './check-log.ts';
import { ShadowPlans } from './shadow-plans.ts';

const planning = planningOf(backupPlan);
const ids = { backupId: derivedId('backup', 'r1'), hostId: 'lab', vmId: 'web-1' };
const triggered: TriggeredBackup = {
  ...ids,
  kind: 'auto',
  mode: 'auto',
  policy: { ...defaultPolicy, childJobBytes: 8 * GiB },
  priority: 'normal',
  origin: { via: 'nats', requestId: 'r1' },
  requestedAt: '2026-01-01T00:00:00.000Z',
  parent: null,
};
const bytes = 40 * GiB;
const inspection: Inspection = {
  hostId: 'lab',
  vmId: 'web-1',
  disks: [
    {
      diskId: 'vda',
      sizeBytes: bytes,
      identity: { format: 'raw', inode: '1', sizeBytes: bytes },
      allocated: { bucketBytes: bytes, buckets: [bytes] },
      tracking: { state: 'unusable', code: 'NoParent', reason: 'first backup of this VM' },
    },
  ],
  modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
};
const candidate: Policy = { ...defaultPolicy, policyId: 'candidate', maxPortsPerProxy: 1 };
const activated = (proxyId: string): Event => ({
  type: 'ProxyActivated',
  data: {
    hostId: 'lab',
    proxyId,
    ports: [0, 1, 2, 3].map((port) => ({ port, endpoint: 'nbd://127.0.0.1:1' })),
  },
});

let log: StoredRecord[];
function append(stream: string, ...events: Event[]): void {
  for (const { type, data } of events) {
    const version = log.filter((record) => record.stream === stream).length + 1;
    log.push({
      position: log.length + 1,
      eventId: derivedId(stream, String(version)),
      ...{ stream, version, type, data },
      schemaVersion: catalogue[type].schemaVersion,
      recordedAt: `2026-01-01T00:00:00.${String(log.length).padStart(6, '0')}Z`,
      metadata: { correlation: 'test', causation: 'host-lab', actor: 'test' },
    });
  }
}
const planned = (): StoredRecord => {
  const found = log.find(({ type }) => type === 'ProxiesCalculated');
  if (found === undefined) throw new Error('There is no plan');
  return found;
};
const change = (record: StoredRecord, data: object, more: Partial<StoredRecord> = {}): void => {
  log[log.indexOf(record)] = { ...record, ...more, data: { ...(record.data as object), ...data } };
};

beforeEach(() => {
  log = [];
  append('host-lab', activated('p1'), activated('p2'));
  append(`backup-${ids.backupId}`, { type: 'BackupTriggered', data: triggered });
  const seen = fold(evolveView, emptyView, [activated('p1'), activated('p2')]);
  // Recorded after another proxy came up, which the plan has not seen.
  append('host-lab', activated('p3'));
  const decided = planning.decide(planning.initialState, {
    type: 'InspectAndCalculate',
    ...{ triggered, inspection, shadows: [candidate] },
    pool: { ...seen, hostVersion: 2 },
  });
  append(`plan-${ids.backupId}`, ...(decided.ok ? decided.value : []));
});

describe('a plan', () => {
  test('is made again with the proxies that it saw, and so are its shadows', () => {
    expect(planned().data).toMatchObject({ hostVersion: 2, expectedShared: 2 });
    const { differences, tallies } = checkLog(log);
    expect(differences).toEqual([]);
    expect([tallies.plan.checked, tallies.shadow.checked]).toEqual([1, 1]);
  });

  test('that shares fewer proxies than were up differs, and says in what', () => {
    change(planned(), { expectedShared: 1 });
    expect(checkLog(log).differences[0]).toMatchObject({
      kind: 'plan',
      what: `the plan of run ${ids.backupId} is another one today`,
      lines: ['ProxiesCalculated data.expectedShared: recorded 1, derived 2'],
    });
  });

  test('whose shadow was another one is told apart from it', () => {
    const shadow = log.at(-1) as StoredRecord;
    const { data } = shadow as unknown as Event<'ShadowPlanCalculated'>;
    change(shadow, { shadow: { ...data.shadow, proxies: 9 } });
    expect(checkLog(log).differences[0]).toMatchObject({
      kind: 'shadow',
      lines: [expect.stringMatching(/^ShadowPlanCalculated data\.shadow\.proxies: recorded 9, derived \d/)],
    });
  });

  test('of an older version is compared in what that version had', () => {
    // As it was before a plan said what it saw, how urgent it is and since when it waits.
    const {
      hostVersion: _,
      askedAt: __,
      priority: ___,
      ...older
    } = planned().data as Record<string, unknown>;
    const at = log.indexOf(planned());
    log[at] = { ...planned(), data: older, schemaVersion: 2 };
    const { differences, tallies } = checkLog(log);
    expect(differences).toEqual([]);
    expect(tallies.plan.checked).toBe(1);
  });

  test.each([
    [
      'the log is not read from its start',
      () => {
        log = log.filter(({ stream }) => stream !== 'host-lab');
      },
      "the log does not have the host's stream as far as the plan saw it",
    ],
    [
      'the request is not in the log',
      () => {
        log = log.filter(({ type }) => type !== 'BackupTriggered');
      },
      'what triggered the run is not in this log',
    ],
    [
      'nothing was found at the host',
      () => {
        log = log.filter(({ type }) => type !== 'VmInspected');
      },
      'refused before anything was calculated',
    ],
  ])('is not checkable where %s, and that is counted', (_, lose, reason) => {
    lose();
    const { differences, tallies } = checkLog(log);
    expect(differences.filter(({ kind }) => kind === 'plan')).toEqual([]);
    expect([...tallies.plan.notCheckable]).toEqual([[reason, 1]]);
  });
});

describe('another policy', () => {
  const under = (changes: Partial<Policy>) => {
    const plans = new ShadowPlans((live) => ({ ...live, policyId: 'other', ...changes }));
    const rows = log.map((record) => plans.take(record)).filter((row) => row !== undefined);
    return { rows, sums: plans.sums };
  };

  test('that comes to something else is told beside what was planned, and counted', () => {
    const { rows, sums } = under({ maxChildJobsPerProxy: 1, maxProxiesPerHost: 3 });
    expect(rows).toMatchObject([
      {
        vmId: 'web-1',
        livePolicyId: 'default',
        live: { mode: 'proxy-vm', childJobs: 5, proxies: 2, waves: 1 },
        shadow: { mode: 'proxy-vm', childJobs: 5, proxies: 3, waves: 2 },
        differences: ['proxies', 'waves'],
      },
    ]);
    expect(sums).toMatchObject({ plans: 1, differing: 1, live: { proxies: 2 }, shadow: { proxies: 3 } });
  });

  test('that refuses is a difference, too', () => {
    const { rows, sums } = under({ maxPortsPerProxy: 0 });
    expect(rows).toMatchObject([{ shadow: { mode: null, refusal: { code: 'NoChildJobFits' } } }]);
    expect(sums.shadow).toMatchObject({ refused: 1, proxyVm: 0 });
  });

  test('of another name alone is none', () => {
    expect(under({}).rows).toMatchObject([{ differences: [] }]);
    expect(under({}).sums.differing).toBe(0);
  });
});

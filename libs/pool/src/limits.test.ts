/** What an administrator allows a host: taken up, and kept to. */
import { type HostPolicy, noHostPolicy, type Plan, type Priority } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { instantPlanOf, planOf, recoveryPlanOf, TestPool } from './pool.fixture.ts';

const adopt = (policy: Partial<HostPolicy>, revision: number) =>
  ({ type: 'AdoptPolicy', policy: { ...noHostPolicy, ...policy }, revision }) as const;

function poolWith(policy: Partial<HostPolicy>): TestPool {
  const pool = new TestPool();
  pool.command(adopt(policy, 1));
  return pool;
}

/** As many hours after the first of all as it says. */
const asked = (plan: Plan, hour: number, priority: Priority = 'normal'): Plan => ({
  ...plan,
  priority,
  askedAt: new Date(Date.UTC(2026, 0, 1) + hour * 3_600_000).toISOString(),
});

const begun = ({ history }: TestPool): string[] =>
  history.flatMap(({ type, data }) =>
    type === 'SnapshotRequested' || type === 'TargetRequested' ? [data.vmId] : [],
  );

/** Child jobs of the VM that hold ports. */
const leased = ({ pool }: TestPool, vmId: string): string[] =>
  [...pool.runs.values()]
    .filter(({ order }) => order.vmId === vmId)
    .flatMap(({ jobs }) => [...jobs.values()].filter(({ lease }) => lease !== undefined))
    .map(({ childJobId }) => childJobId);

function end(pool: TestPool, vmId: string): void {
  const run = [...pool.pool.runs.values()].find(({ order }) => order.vmId === vmId);
  pool.command({ type: 'EndRun', runId: run?.order.runId ?? '', outcome: 'completed' });
  pool.run();
}

test('a policy is adopted once, and an older one that arrives late is not', () => {
  const pool = new TestPool();
  pool.command(adopt({ maxRuns: 3 }, 2));
  expect(pool.command(adopt({ maxRuns: 3 }, 2))).toEqual([]);
  expect(pool.command(adopt({ maxRuns: 9 }, 1))).toEqual([]);
  expect(pool.pool.policy).toEqual({ ...noHostPolicy, maxRuns: 3 });
  pool.command(adopt({}, 3));
  expect(pool.pool.policy).toEqual(noHostPolicy);
});

describe.each(['maxOpenSnapshots', 'maxRuns'] as const)('with %s', (limit) => {
  test('runs begin in the order of their turns, each when one before it has given everything back', () => {
    const pool = poolWith({ [limit]: 1 });
    pool.request(asked(planOf('first', [1], 1), 0));
    pool.run();
    pool.request(asked(planOf('patient', [1], 1), 1, 'low'));
    pool.request(asked(planOf('second', [1], 1), 2));
    pool.request({
      ...recoveryPlanOf('recovered', [1], 1),
      priority: 'high',
      askedAt: '2026-01-01T03:00:00Z',
    });
    pool.run();
    expect(begun(pool)).toEqual(['first']);
    for (const vmId of ['first', 'recovered', 'second', 'patient']) {
      expect(begun(pool).at(-1)).toBe(vmId);
      end(pool, vmId);
    }
    expect(pool.pool.runs.size).toBe(0);
  });

  test('lowering it breaks nothing that runs, and raising it lets the next begin at once', () => {
    const pool = poolWith({ [limit]: 3 });
    for (const name of ['a', 'b', 'c', 'd', 'e']) pool.request(planOf(name, [1], 1));
    pool.run();
    expect(begun(pool)).toEqual(['a', 'b', 'c']);
    pool.command(adopt({ [limit]: 1 }, 2));
    pool.run();
    end(pool, 'a');
    end(pool, 'b');
    expect(begun(pool)).toEqual(['a', 'b', 'c']);
    expect(pool.pool.runs.size).toBe(3);
    end(pool, 'c');
    expect(begun(pool)).toEqual(['a', 'b', 'c', 'd']);
    pool.command(adopt({ [limit]: null }, 3));
    pool.run();
    expect(begun(pool)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  test('a run whose snapshot was lost goes on, however many wait', () => {
    const pool = poolWith({ [limit]: 1 });
    for (const name of ['a', 'b']) pool.request(planOf(name, [1], 0));
    pool.run();
    pool.observe({ disks: false });
    pool.run();
    expect(begun(pool)).toEqual(['a']);
    expect(pool.history.filter(({ type }) => type === 'SnapshotTaken').length).toBe(2);
  });
});

test('an instant recovery is never held back: its VM starts whatever else is open, and counts among the runs', () => {
  const pool = poolWith({ maxRuns: 1, maxOpenSnapshots: 1 });
  pool.request(planOf('busy', [1], 1));
  pool.run();
  pool.request(instantPlanOf('down', [1], 0));
  pool.openMounts();
  pool.run();
  expect(begun(pool)).toEqual(['busy', 'down']);
  pool.request(planOf('next', [1], 1));
  end(pool, 'busy');
  expect(begun(pool)).toEqual(['busy', 'down']);
});

test('a VM holds no more ports than it may, and always one', () => {
  const pool = poolWith({ maxPortsPerVm: 2 });
  pool.request(planOf('wide', [6], 1));
  pool.request(planOf('other', [2], 1));
  pool.run();
  expect([leased(pool, 'wide').length, leased(pool, 'other').length]).toEqual([2, 2]);
  pool.command(adopt({ maxPortsPerVm: 1 }, 2));
  for (const job of leased(pool, 'wide')) pool.finishJob(job);
  pool.run();
  expect(leased(pool, 'wide').length).toBe(1);
  pool.command(adopt({}, 3));
  pool.run();
  expect(leased(pool, 'wide').length).toBe(2);
});

test('of two limits of proxies the smaller counts, and the shortfall says it', () => {
  const pool = poolWith({ maxProxies: 1 });
  pool.request(planOf('big', [8], 3, { maxProxiesPerHost: 2 }));
  pool.run();
  expect(pool.pool.proxyVms.size).toBe(1);
  const chosen = pool.history.find(({ type }) => type === 'ProxiesChosen');
  expect(chosen).toMatchObject({
    data: { shortfall: expect.stringContaining('of at most 1 run on host lab') },
  });
});

/** Who is served first at a host, told in scenes. */
import { type Plan, Priority } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { planOf, recoveryPlanOf, TestPool } from './pool.fixture.ts';

const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1) + minute * 60_000).toISOString();

const asked = (plan: Plan, minute: number, priority: Priority = 'normal'): Plan => ({
  ...plan,
  priority,
  askedAt: at(minute),
});

const leasesOf = (pool: TestPool, vmId: string): string[] =>
  pool.leases().filter((lease) => lease.startsWith(`${vmId}.`));

function finish(pool: TestPool, vmId: string): void {
  const run = [...pool.pool.runs.values()].find(({ order }) => order.vmId === vmId);
  for (const job of run?.jobs.values() ?? []) if (job.lease !== undefined) pool.finishJob(job.childJobId);
  const done = [...(run?.jobs.values() ?? [])].every(({ state }) => state === 'done');
  if (run !== undefined && done)
    pool.command({ type: 'EndRun', runId: run.order.runId, outcome: 'completed' });
  pool.run();
}

const onePort = { maxPortsPerProxy: 1, maxProxiesPerHost: 1 };

test('a port that is given back goes to the highest priority, and among equals to the oldest', () => {
  const pool = new TestPool();
  pool.request(asked(planOf('now', [1], 1, onePort), 0));
  pool.run();
  pool.request(asked(planOf('low', [1], 1, onePort), 1, 'low'));
  pool.request(asked(planOf('later', [1], 1, onePort), 3));
  pool.request(asked(planOf('earlier', [1], 1, onePort), 2));
  pool.request({ ...recoveryPlanOf('lost', [1], 1, onePort), priority: 'high', askedAt: at(4) });
  pool.request(asked(planOf('urgent', [1], 1, onePort), 5, 'urgent'));
  pool.run();
  for (const vmId of ['now', 'urgent', 'lost', 'earlier', 'later', 'low']) {
    expect(pool.leases()).toEqual([expect.stringMatching(`^${vmId}\\.`)]);
    finish(pool, vmId);
  }
});

test('a head start is no right for ever: what has waited longer than it comes first', () => {
  const pool = new TestPool();
  pool.request(asked(planOf('now', [1], 1, onePort), 0));
  pool.run();
  pool.request(asked(planOf('old', [1], 1, onePort), 0));
  pool.request(asked(planOf('high', [1], 1, onePort), 13 * 60, 'high'));
  pool.run();
  finish(pool, 'now');
  expect(leasesOf(pool, 'old').length).toBe(1);
});

test('ports are shared by weight: who is urgent has four times what is normal, and nobody has nothing', () => {
  const roomy = { maxPortsPerProxy: 20, maxChildJobsPerProxy: 20, maxProxiesPerHost: 1 };
  const pool = new TestPool();
  for (const priority of Priority.options) pool.request(asked(planOf(priority, [40], 1, roomy), 0, priority));
  pool.run();
  const held = Object.fromEntries(Priority.options.map((each) => [each, leasesOf(pool, each).length]));
  expect(held).toEqual({ low: 2, normal: 3, high: 5, urgent: 10 });
});

test('a run that needs two ports gets them, though runs that need one never leave two free', () => {
  const twoPorts = { maxPortsPerProxy: 2, maxChildJobsPerProxy: 2, maxProxiesPerHost: 1 };
  const pool = new TestPool();
  const next = (minute: number) => pool.request(asked(planOf(`one-${minute}`, [1], 1, twoPorts), minute));
  next(0);
  next(1);
  pool.run();
  pool.request(asked(planOf('two', [1], 1, { ...twoPorts, portsPerChildJob: 2 }), 2));
  // Two at a time, and one of them ends every minute.
  for (let minute = 3; minute < 40 && leasesOf(pool, 'two').length === 0; minute += 1) {
    next(minute);
    pool.run();
    const [oldest = ''] = pool.leases();
    finish(pool, oldest.split('.')[0] ?? '');
  }
  expect(leasesOf(pool, 'two').length).toBe(1);
  // It was overtaken by those of the next quarter of an hour, and by none after.
  const overtook = pool.history.filter(({ type }) => type === 'PortsLeased').length - 3;
  expect(overtook).toBe(15);
});

test('a run that cannot use the proxies that are up has one in the end, though others never let them be idle', () => {
  const small = { maxPortsPerProxy: 1, maxProxiesPerHost: 1, proxyIdleSeconds: 1 };
  const big = { ...small, maxPortsPerProxy: 2, portsPerChildJob: 2 };
  const pool = new TestPool();
  const next = (minute: number) => pool.request(asked(planOf(`one-${minute}`, [1], 1, small), minute));
  next(0);
  pool.run();
  pool.request(asked(planOf('two', [1], 1, big), 1));
  let minute = 2;
  for (; minute < 60 && leasesOf(pool, 'two').length === 0; minute += 1) {
    next(minute);
    pool.run();
    const [oldest = ''] = pool.leases();
    finish(pool, oldest.split('.')[0] ?? '');
    pool.now += 60_000;
    pool.run();
  }
  expect(leasesOf(pool, 'two').length).toBe(1);
  expect(minute).toBeLessThan(25);
});

test('the host takes the snapshot of the more urgent first', () => {
  const pool = new TestPool();
  for (const name of ['a', 'b', 'c']) pool.request(asked(planOf(name, [1], 1), 0));
  pool.request(asked(planOf('urgent', [1], 1), 1, 'urgent'));
  const first = pool.settle()[0];
  expect(first).toMatchObject({ type: 'TakeSnapshot', order: { vmId: 'urgent' } });
});

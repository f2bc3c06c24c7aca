/** What a look costs, counted in runs looked at. */
import { noHostPolicy } from '@backhaul/contracts';
import { expect, test, vi } from 'vitest';
import { decisionsNow, dueActions } from './next-steps.ts';
import { planOf, TestPool } from './pool.fixture.ts';

const RUNS = 5_000;
const roomy = { maxDisksPerProxy: 1_000_000, maxProxiesPerHost: 1 };

/** How many runs one look asks for, by whatever way. */
function runsLookedAt(pool: TestPool): number {
  const { runs } = pool.pool;
  const get = vi.spyOn(runs, 'get');
  const walks = (['values', 'entries', 'keys', 'forEach'] as const).map((name) => vi.spyOn(runs, name));
  const iterated = vi.spyOn(runs, Symbol.iterator as never);
  decisionsNow(pool.pool, pool.now);
  for (const _ of dueActions(pool.pool)) break;
  for (const walk of [...walks, iterated]) expect(walk).not.toHaveBeenCalled();
  const count = get.mock.calls.length;
  vi.restoreAllMocks();
  return count;
}

function poolWith(runs: number, policy: Parameters<typeof planOf>[3]): TestPool {
  const pool = new TestPool();
  for (let number = 0; number < runs; number += 1) pool.request(planOf(`vm${number}`, [1], 1, policy));
  pool.run();
  return pool;
}

test('a look over thousands of runs that wait for ports looks at none of them', () => {
  const pool = poolWith(RUNS, roomy);
  expect(pool.pool.runs.size).toBe(RUNS);
  expect(runsLookedAt(pool)).toBe(0);
});

test('a port that is given back costs a look at one run, however many wait for it', () => {
  const pool = poolWith(RUNS, roomy);
  const [held] = pool.pool.proxyVms.values().next().value?.holders.values() ?? [];
  pool.finishJob(held?.childJobId ?? '');
  // The one that has its port, and the one that is asked what it gives back.
  expect(runsLookedAt(pool)).toBeLessThanOrEqual(3);
  expect(decisionsNow(pool.pool, pool.now).map(({ type }) => type)).toEqual(['PortsLeased']);
});

test('thousands of runs that wait for leave to begin cost no look', () => {
  const pool = new TestPool();
  const policy = { ...noHostPolicy, maxOpenSnapshots: 4 };
  pool.command({ type: 'AdoptPolicy', policy, revision: 1 });
  for (let number = 0; number < RUNS; number += 1) pool.request(planOf(`vm${number}`, [1], 1, roomy));
  pool.run();
  expect(pool.pool.due.beginning.length).toBe(RUNS - 4);
  expect(runsLookedAt(pool)).toBe(0);
});

test('thousands of runs that wait for room on proxies cost a look at the first of them', () => {
  const pool = poolWith(RUNS, { maxDisksPerProxy: 2, maxProxiesPerHost: 1 });
  expect(runsLookedAt(pool)).toBe(1);
});

/** How many proxies a run may lose: what ends well is no loss, what is lost at once is lost once, and work that is done begins the count anew. */
import { expect, test } from 'vitest';
import { confirmed, healthChanged, planOf, TestPool } from './pool.fixture.ts';

type Plan = ReturnType<typeof planOf>;

const lose = (pool: TestPool, proxyIds: readonly string[], reason = 'killed'): void =>
  pool.append(
    proxyIds.map((proxyId) => ({ type: 'ProxyLost', data: { hostId: 'lab', proxyId, reason } })),
    'drift',
  );
const failures = (pool: TestPool): string[] =>
  pool.history.flatMap((event) => (event.type === 'RunFailed' ? [event.data.refusal.message] : []));
const finish = (pool: TestPool, plan: Plan, from: number, to: number): void => {
  for (const { childJobId } of plan.childJobs.slice(from, to)) {
    pool.finishJob(childJobId);
    pool.run();
  }
};

test('a proxy that was done and ended idle is not held against the run', () => {
  const pool = new TestPool();
  const plan = planOf('web', [1, 1, 1, 1, 1, 1, 1], 7, { maxDisksPerProxy: 1, proxyIdleSeconds: 60 });
  pool.request(plan);
  pool.run();
  expect(pool.leases()).toHaveLength(7);
  finish(pool, plan, 0, 4);
  pool.now += 61_000;
  pool.run();
  expect(pool.pool.proxyVms.size).toBe(3);
  lose(pool, [...pool.pool.proxyVms.keys()]);
  pool.run();
  expect(failures(pool)).toEqual([]);
  expect(pool.leases()).toHaveLength(3);
});

test('all proxies of a run that die of one cause are replaced', () => {
  const pool = new TestPool();
  const plan = planOf('web', [40], 6, { maxPortsPerProxy: 4 });
  pool.request(plan);
  pool.run();
  expect(pool.pool.proxyVms.size).toBe(6);
  finish(pool, plan, 0, 20);
  lose(pool, [...pool.pool.proxyVms.keys()]);
  pool.run();
  expect(failures(pool)).toEqual([]);
  finish(pool, plan, 20, 40);
  pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
  pool.run();
  expect(pool.pool.runs.size).toBe(0);
});

test('a run that gets on loses as many proxies as it must', () => {
  const pool = new TestPool();
  const plan = planOf('web', [12], 1, { maxPortsPerProxy: 1 });
  pool.request(plan);
  pool.run();
  for (let job = 0; job < 12; job += 1) {
    finish(pool, plan, job, job + 1);
    lose(pool, [...pool.pool.proxyVms.keys()]);
    pool.run();
  }
  expect(failures(pool)).toEqual([]);
});

test('one that does not get on is ended when five choices came to nothing, with what became of its own proxies', () => {
  const pool = new TestPool();
  pool.request(planOf('web', [4], 2, { maxPortsPerProxy: 2 }));
  for (let choice = 1; choice <= 5; choice += 1) {
    pool.run();
    expect(failures(pool)).toEqual([]);
    lose(pool, [...pool.pool.proxyVms.keys()], `killed for the ${choice}. time`);
  }
  pool.run();
  expect(failures(pool)).toEqual([
    'Proxies were chosen 5 times in a row for the backup of vm web on host lab, and all of them were lost before a child job was done; at last because: killed for the 5. time.',
  ]);
});

test('so is one whose proxies all fall sick', () => {
  const pool = new TestPool();
  pool.request(planOf('web', [1], 1));
  for (let choice = 0; choice < 9; choice += 1) {
    pool.run();
    pool.append([...pool.pool.proxyVms.keys()].map((proxyId) => healthChanged(proxyId, 'sick')));
  }
  pool.run();
  expect(failures(pool)).toEqual([expect.stringContaining('memory available 3 %')]);
});

test('a pause begins the count anew', () => {
  const pool = new TestPool();
  const plan = planOf('web', [1], 1);
  pool.request(plan);
  for (let round = 1; round <= 12; round += 2) {
    pool.run();
    const of = { runId: plan.backupId, purpose: 'backup' as const };
    pool.command({ type: 'PauseRun', ...of, number: round });
    pool.run();
    pool.command({ type: 'ResumeRun', ...of, number: round + 1 });
  }
  pool.run();
  lose(pool, [...pool.pool.proxyVms.keys()]);
  pool.run();
  expect(failures(pool)).toEqual([]);
});

test('an interruption is not forgiven because its proxy ended well afterwards', () => {
  const pool = new TestPool();
  const plan = planOf('web', [1], 2, {
    maxAttemptsPerChildJob: 2,
    proxyIdleSeconds: 60,
    maxPortsPerProxy: 1,
  });
  pool.request(plan);
  pool.run();
  const first = [...pool.pool.proxyVms.keys()][0] ?? '';
  pool.finishJob(plan.childJobs[0]?.childJobId ?? '', false);
  pool.observe();
  pool.append(
    [
      { type: 'DiskDetached', data: { hostId: 'lab', runId: plan.backupId, proxyId: first, diskId: 'd0' } },
      { type: 'ProxyRetiring', data: { hostId: 'lab', proxyId: first, reason: 'idle for 60 seconds' } },
    ],
    'look',
  );
  for (const action of pool.settle())
    if (action.type === 'DeactivateProxy') pool.append(confirmed(action, pool.instant()));
  expect(pool.pool.proxyVms.has(first)).toBe(false);
  expect(pool.pool.runs.get(plan.backupId)?.jobs.values().next().value?.interruptions).toBe(1);
});

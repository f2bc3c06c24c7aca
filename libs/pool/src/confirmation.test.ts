/** A worker that was replaced finishes beside its successor: what it confirms late says nothing new, and changes nothing. */
import { expect, test } from 'vitest';
import { confirmsSomething } from './confirmation.ts';
import { confirmed, planOf, TestPool } from './pool.fixture.ts';

/** Runs everything, and keeps what each action was confirmed with, as a second worker would confirm it once more. */
function runTwice(pool: TestPool): void {
  for (let actions = pool.settle(); actions.length > 0; actions = pool.settle()) {
    const confirmations = actions.flatMap((action) => confirmed(action));
    for (const event of confirmations) expect(confirmsSomething(pool.pool, event), event.type).toBe(true);
    pool.append(confirmations);
    for (const event of confirmations) expect(confirmsSomething(pool.pool, event), event.type).toBe(false);
    pool.settle();
    for (const event of confirmations) expect(confirmsSomething(pool.pool, event), event.type).toBe(false);
  }
}

test.each([
  ['through proxies', 1],
  ['direct to host', 0],
])('each confirmation of a backup %s counts once, from its start to its end', (_, proxies) => {
  const pool = new TestPool();
  const plan = planOf('web', [1], proxies, { proxyIdleSeconds: 60 });
  pool.request(plan);
  runTwice(pool);
  pool.finishJob(plan.childJobs[0]?.childJobId ?? '');
  pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
  runTwice(pool);
  expect(pool.pool.runs.size).toBe(0);
  pool.now += 60_000;
  runTwice(pool);
  expect(pool.pool.proxies.size).toBe(0);
});

test('a disk that is in use again is not taken from its readers by a late detachment', () => {
  const pool = new TestPool();
  const plan = planOf('web', [2], 1);
  pool.request(plan);
  pool.run();
  const [proxyId = ''] = pool.pool.proxies.keys();
  const data = { hostId: 'lab', runId: plan.backupId, proxyId, diskId: 'd0' };
  expect(confirmsSomething(pool.pool, { type: 'DiskDetached', data })).toBe(false);
});

import type { EventData, EventType } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { confirmed, planOf, TestPool } from './pool.fixture.ts';
import type { HostEvent } from './pool.ts';

const SECOND = 1_000;

/** What is known of all things of a kind that have ended. */
const dataOf = <T extends EventType>(pool: TestPool, type: T): EventData<T>[] =>
  pool.history.flatMap((event) => (event.type === type ? [event.data as EventData<T>] : []));

describe('what a proxy has cost', () => {
  test('is the time since it was asked for, and of its ports the time that each was held', () => {
    const pool = new TestPool();
    const plan = planOf('web', [2], 1, { proxyIdleSeconds: 60 });
    pool.request(plan);
    pool.run();
    pool.now += 10 * SECOND;
    pool.finishJob(plan.childJobs[0]?.childJobId ?? '');
    pool.now += 5 * SECOND;
    pool.finishJob(plan.childJobs[1]?.childJobId ?? '');
    pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
    pool.run();
    expect(dataOf(pool, 'RunClosed')).toMatchObject([{ portSeconds: 25 }]);
    pool.now += 60 * SECOND;
    pool.run();
    expect(dataOf(pool, 'ProxyDeactivated')).toMatchObject([
      { cost: { upSeconds: 75, busyPortSeconds: 25, runs: 1 } },
    ]);
  });

  test('counts from the request, not from when it was up: the host gives room from the first moment', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [1], 1));
    for (const action of pool.settle()) pool.append(confirmed(action));
    const [booting] = pool.settle();
    expect(booting?.type).toBe('ActivateProxy');
    pool.now += 30 * SECOND;
    const proxyId = [...pool.pool.proxies.keys()][0] ?? '';
    pool.append([{ type: 'ProxyLost', data: { hostId: 'lab', proxyId, reason: 'it did not come up' } }]);
    pool.run();
    expect(dataOf(pool, 'ProxyDeactivated')).toMatchObject([
      { proxyId, cost: { upSeconds: 30, busyPortSeconds: 0 } },
    ]);
  });

  test('of a lost proxy knows of what was held until it was lost', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [2], 1));
    pool.run();
    pool.now += 10 * SECOND;
    const proxyId = [...pool.pool.proxies.keys()][0] ?? '';
    pool.append([{ type: 'ProxyLost', data: { hostId: 'lab', proxyId, reason: 'killed' } }]);
    pool.run();
    expect(dataOf(pool, 'ProxyDeactivated')).toMatchObject([
      { proxyId, cost: { upSeconds: 10, busyPortSeconds: 20, runs: 1 } },
    ]);
  });

  test('is shared by the runs: each has its part, and the parts are the whole', () => {
    const pool = new TestPool();
    const [web, db] = [planOf('web', [2], 1), planOf('db', [1], 1, { proxyIdleSeconds: 0 })];
    pool.request(web);
    pool.request(db);
    pool.run();
    pool.now += 8 * SECOND;
    for (const plan of [web, db]) {
      for (const { childJobId } of plan.childJobs) pool.finishJob(childJobId);
      pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
    }
    pool.run();
    pool.now += 3_600 * SECOND;
    pool.run();
    expect(dataOf(pool, 'RunClosed').map(({ portSeconds }) => portSeconds)).toEqual([16, 8]);
    expect(dataOf(pool, 'ProxyDeactivated').map(({ cost }) => cost)).toMatchObject([
      { busyPortSeconds: 24, runs: 2 },
    ]);
  });

  test('is nothing for a run that goes without proxies', () => {
    const pool = new TestPool();
    const plan = planOf('web', [1], 0);
    pool.request(plan);
    pool.run();
    pool.now += 8 * SECOND;
    pool.finishJob(plan.childJobs[0]?.childJobId ?? '');
    pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
    pool.run();
    expect(dataOf(pool, 'RunClosed')).toMatchObject([{ portSeconds: 0 }]);
  });

  test('is not known, and is not guessed, of what began before events had times', () => {
    const pool = new TestPool();
    const plan = planOf('web', [1], 1);
    pool.request(plan);
    pool.run();
    pool.history.splice(0, pool.history.length, ...pool.history.map(withoutTimes));
    pool.restart();
    pool.now += 8 * SECOND;
    pool.finishJob(plan.childJobs[0]?.childJobId ?? '');
    pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
    pool.run();
    pool.now += 3_600 * SECOND;
    pool.run();
    expect(dataOf(pool, 'RunClosed')[0]).not.toHaveProperty('portSeconds');
    expect(dataOf(pool, 'ProxyDeactivated')[0]).not.toHaveProperty('cost');
  });
});

/** As an earlier release recorded it. */
function withoutTimes(event: HostEvent): HostEvent {
  const { requestedAt: _, leasedAt: __, ...data } = event.data as Record<string, unknown>;
  return event.type === 'ActivationRequested' ? event : ({ ...event, data } as unknown as HostEvent);
}

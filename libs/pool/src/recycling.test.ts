import { type HostPolicy, noHostPolicy, type Plan } from '@backhaul/contracts';
import { describe, expect, test } from 'vitest';
import { planOf, TestPool } from './pool.fixture.ts';

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

class PolicedPool extends TestPool {
  #revision = 0;

  adopt(policy: Partial<HostPolicy>): void {
    this.#revision += 1;
    this.command({
      type: 'AdoptPolicy',
      policy: { ...noHostPolicy, ...policy },
      revision: this.#revision,
    });
  }

  start(plan: Plan): Plan {
    this.request(plan);
    this.run();
    return plan;
  }

  finish(plan: Plan): void {
    for (const { childJobId } of plan.childJobs) this.finishJob(childJobId);
    this.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
    this.run();
  }

  /** `p1: why` of every event of this type. */
  told(type: 'ProxyDraining' | 'ProxyRetiring'): string[] {
    return this.history.flatMap((event) =>
      event.type === type ? [`${event.data.proxyId.split('-')[0]}: ${event.data.reason}`] : [],
    );
  }

  proxiesOf(plan: Plan): string[] {
    return this.history.flatMap((event) =>
      event.type === 'ProxiesChosen' && event.data.runId === plan.backupId
        ? event.data.proxies.map(
            ({ proxyId, shared }) => `${proxyId.split('-')[0]}${shared ? ' shared' : ''}`,
          )
        : [],
    );
  }
}

describe('a proxy that has served as many runs as it may', () => {
  test('is given to no other, finishes what it has, and is ended without an idle time', () => {
    const pool = new PolicedPool();
    pool.adopt({ recycleAfterRuns: 2 });
    const web = pool.start(planOf('web', [2], 1));
    const db = pool.start(planOf('db', [1], 1));
    expect(pool.told('ProxyDraining')).toEqual(['p1: it has served 2 of the 2 runs that a proxy may']);
    const app = pool.start(planOf('app', [1], 1));
    expect([web, db, app].map((plan) => pool.proxiesOf(plan))).toEqual([['p1'], ['p1 shared'], ['p2']]);
    expect(pool.leases()).toEqual(['web.d0.0@p1:0', 'web.d0.1@p1:1', 'db.d0.0@p1:2', 'app.d0.0@p2:0']);
    pool.finish(web);
    expect(pool.told('ProxyRetiring'), 'db still has disks there').toEqual([]);
    pool.finish(db);
    expect(pool.told('ProxyRetiring')).toEqual(['p1: it has served 2 of the 2 runs that a proxy may']);
    expect([...pool.pool.proxies.keys()].map((id) => id.split('-')[0])).toEqual(['p2']);
  });

  test('is not given to more in one look than it may serve', () => {
    const pool = new PolicedPool();
    pool.adopt({ recycleAfterRuns: 2 });
    const plans = ['web', 'db', 'app', 'mail'].map((name) => planOf(name, [1], 1));
    for (const plan of plans) pool.request(plan);
    pool.run();
    expect(plans.map((plan) => pool.proxiesOf(plan))).toEqual([['p1'], ['p1 shared'], ['p2'], ['p2 shared']]);
  });

  test('is not replaced for a run that has all it wanted, and whose end is not told yet', () => {
    const pool = new PolicedPool();
    pool.adopt({ recycleAfterRuns: 1 });
    const web = pool.start(planOf('web', [1], 1));
    for (const { childJobId } of web.childJobs) pool.finishJob(childJobId);
    pool.run();
    expect(pool.told('ProxyRetiring')).toEqual(['p1: it has served 1 of the 1 runs that a proxy may']);
    expect(pool.proxiesOf(web)).toEqual(['p1']);
    pool.finish(web);
    expect([...pool.pool.proxies.keys()]).toEqual([]);
  });

  test('keeps its place at a full host until it is gone, and the next run then has a new one', () => {
    const pool = new PolicedPool();
    pool.adopt({ recycleAfterRuns: 1 });
    const web = pool.start(planOf('web', [1], 1, { maxProxiesPerHost: 1 }));
    const db = pool.start(planOf('db', [1], 1, { maxProxiesPerHost: 1 }));
    expect(pool.leases()).toEqual(['web.d0.0@p1:0']);
    pool.finish(web);
    expect(pool.proxiesOf(db)).toEqual(['p2']);
    expect(pool.leases()).toEqual(['db.d0.0@p2:0']);
  });
});

describe('a proxy that was there for as long as it may', () => {
  test('drains under its run, and a rule that comes later counts from the next look', () => {
    const pool = new PolicedPool();
    const web = pool.start(planOf('web', [2], 1));
    pool.now += 3 * HOUR - SECOND;
    pool.run();
    pool.adopt({ recycleAfterHours: 3 });
    pool.run();
    expect(pool.told('ProxyDraining')).toEqual([]);
    pool.now += SECOND;
    pool.run();
    expect(pool.told('ProxyDraining')).toEqual(['p1: it was there for the 3 h that a proxy may be']);
    expect(pool.leases()).toHaveLength(2);
    pool.finish(web);
    expect(pool.pool.proxies.size).toBe(0);
  });
});

describe('a proxy of another build of the appliance than the host has now', () => {
  const activated = (pool: PolicedPool, appliance: string): void => {
    for (const proxy of pool.pool.proxyVms.values())
      proxy.characteristics = {
        ...{ sessionsMax: null, memoryBytes: null, processors: null, accelerator: null },
        appliance,
      };
  };

  test('is recycled when the host is seen to have another, and only where the policy asks for it', () => {
    const pool = new PolicedPool();
    pool.appliance = 'old';
    const web = pool.start(planOf('web', [1], 1));
    activated(pool, 'old');
    pool.observe();
    pool.observe();
    expect(pool.history.filter(({ type }) => type === 'ApplianceObserved')).toHaveLength(1);
    pool.appliance = 'new';
    pool.observe();
    pool.run();
    expect(pool.told('ProxyDraining')).toEqual([]);
    pool.adopt({ recycleOldAppliance: true });
    pool.run();
    expect(pool.told('ProxyDraining')).toEqual([
      'p1: it was booted from appliance old, and the host has new now',
    ]);
    pool.finish(web);
    expect(pool.pool.proxies.size).toBe(0);
  });
});

describe('the idle time of proxies', () => {
  test('is that of the policy which is in force when it is looked at', () => {
    const pool = new PolicedPool();
    pool.finish(pool.start(planOf('web', [1], 1, { proxyIdleSeconds: 60 })));
    pool.adopt({ proxyIdleSeconds: 600 });
    pool.now += 300 * SECOND;
    pool.run();
    expect(pool.pool.proxies.size, 'the policy is longer than the run asked for').toBe(1);
    pool.adopt({ proxyIdleSeconds: 200 });
    pool.run();
    expect(pool.told('ProxyRetiring')).toEqual(['p1: idle for 200 seconds']);
    expect(pool.pool.proxies.size).toBe(0);
  });

  test('may be none at all', () => {
    const pool = new PolicedPool();
    pool.adopt({ proxyIdleSeconds: 0 });
    pool.finish(pool.start(planOf('web', [1], 1)));
    expect(pool.pool.proxies.size).toBe(0);
  });
});

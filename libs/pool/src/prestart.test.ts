import { type EventData, noHostPolicy, type Plan, type Policy } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { confirmed, planOf, TestPool } from './pool.fixture.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

class WarmPool extends TestPool {
  /** A whole backup, after which no proxy is left. */
  backedUp(name: string, jobs: readonly number[], proxies: number, policy: Partial<Policy> = {}): void {
    this.through(planOf(name, jobs, proxies, policy));
    this.now += 60 * MINUTE;
    this.run();
    expect(this.pool.proxies.size).toBe(0);
  }

  through(plan: Plan): void {
    this.request(plan);
    this.run();
    for (const { childJobId } of plan.childJobs) this.finishJob(childJobId);
    this.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
    this.run();
  }

  /** Asks for a backup in so many milliseconds; `runId` as the backup of `planOf(name)` has it. */
  approach(vmId: string, inMilliseconds: number, name = `${vmId} again`) {
    return this.command({
      type: 'PrestartProxies',
      runId: derivedId('test', name),
      scheduleId: `nightly-${vmId}`,
      vmId,
      dueAt: new Date(this.now + inMilliseconds).toISOString(),
      at: new Date(this.now).toISOString(),
    });
  }

  prestarted(): EventData<'ProxiesPrestarted'>[] {
    return this.history.flatMap((event) => (event.type === 'ProxiesPrestarted' ? [event.data] : []));
  }

  up(): string[] {
    return [...this.pool.proxyVms.values()].map(({ proxyId, state }) => `${proxyId.split('-')[0]} ${state}`);
  }
}

const again = (
  vmId: string,
  jobs: readonly number[],
  proxies: number,
  policy: Partial<Policy> = {},
): Plan => ({
  ...planOf(`${vmId} again`, jobs, proxies, policy),
  vmId,
});

describe('a schedule that approaches', () => {
  test('has as many proxies started as the last backup of its VM was given, and the backup finds them there', () => {
    const pool = new WarmPool();
    pool.backedUp('web', [4, 4], 2);
    pool.approach('web', 5 * MINUTE);
    pool.run();
    expect(pool.up()).toEqual(['p3 active', 'p4 active']);
    pool.now += 5 * MINUTE;
    pool.request(again('web', [4, 4], 2));
    pool.run();
    const chosen = pool.history.findLast((event) => event.type === 'ProxiesChosen');
    expect(chosen?.data).toMatchObject({ proxies: [{ shared: true }, { shared: true }], shortfall: null });
    expect(pool.up()).toHaveLength(2);
  });

  test('is answered once', () => {
    const pool = new WarmPool();
    pool.backedUp('web', [4], 1);
    expect(pool.approach('web', MINUTE)).toHaveLength(2);
    expect(pool.approach('web', MINUTE)).toEqual([]);
    pool.run();
    expect(pool.up()).toHaveLength(1);
  });

  test('comes too late when its backup is there already', () => {
    const pool = new WarmPool();
    pool.backedUp('web', [4], 1);
    pool.request(again('web', [4], 1));
    expect(pool.approach('web', 0)).toEqual([]);
  });

  test('asks for nothing where the last backup went without proxies, or there was none', () => {
    const pool = new WarmPool();
    expect(pool.approach('web', MINUTE)).toEqual([]);
    pool.backedUp('web', [4], 1);
    pool.through(planOf('web direct', [1], 0));
    pool.through({ ...planOf('web small', [1], 0), vmId: 'web' });
    expect(pool.approach('web', MINUTE)).toEqual([]);
  });

  test('keeps what is warm instead of starting more, and that stays until the backup comes', () => {
    const pool = new WarmPool();
    pool.through(planOf('web', [4], 1, { proxyIdleSeconds: 60 }));
    pool.approach('web', 10 * MINUTE);
    pool.run();
    expect(pool.prestarted()[0]).toMatchObject({ proxies: [{ started: false }], shortfall: null });
    pool.now += 10 * MINUTE;
    pool.run();
    expect(pool.up()).toEqual(['p1 active']);
  });

  test('does not count on what drains, nor goes over what the host allows', () => {
    const pool = new WarmPool();
    pool.backedUp('web', [4, 4, 4], 3, { maxProxiesPerHost: 3 });
    pool.command({ type: 'AdoptPolicy', policy: { ...noHostPolicy, maxProxies: 2 }, revision: 1 });
    pool.approach('web', MINUTE);
    pool.run();
    expect(pool.up()).toHaveLength(2);
    expect(pool.prestarted()[0]?.shortfall).toContain(
      '3 proxies were asked for and 2 can be had: 0 of at most 2',
    );
  });
});

describe('several schedules that approach together', () => {
  test('share what has room for all of them, and have started what has not', () => {
    const pool = new WarmPool();
    const policy = { maxDisksPerProxy: 2 };
    for (const name of ['web', 'db', 'app']) pool.backedUp(name, [1], 1, policy);
    for (const name of ['web', 'db', 'app']) pool.approach(name, MINUTE);
    pool.run();
    expect(pool.prestarted().map(({ proxies }) => proxies.map(({ started }) => started))).toEqual([
      [true],
      [false],
      [true],
    ]);
  });
});

test('a backup that never came is not kept room for the next day, on a proxy that has been at work ever since', () => {
  const pool = new WarmPool();
  const policy = { maxDisksPerProxy: 2 };
  pool.backedUp('web', [1], 1, policy);
  pool.request(planOf('long', [1], 1, policy));
  pool.run();
  pool.approach('web', MINUTE, 'web tonight');
  pool.run();
  pool.now += 24 * 60 * MINUTE;
  pool.run();
  pool.approach('web', MINUTE, 'web tomorrow');
  expect(pool.prestarted().map(({ proxies }) => proxies.map(({ started }) => started))).toEqual([
    [false],
    [false],
  ]);
});

describe('a proxy that was started beforehand, and that no backup comes for', () => {
  test('idles from the due time on, not from its start', () => {
    const pool = new WarmPool();
    pool.backedUp('web', [4], 1, { proxyIdleSeconds: 200 });
    pool.approach('web', 5 * MINUTE);
    pool.run();
    pool.now += 5 * MINUTE + 199 * SECOND;
    pool.run();
    expect(pool.up()).toEqual(['p2 active']);
    pool.now += SECOND;
    pool.run();
    expect(pool.up()).toEqual([]);
  });

  test('waits for its backup for as long as starting another might take, however short the idle time is', () => {
    const pool = new WarmPool();
    pool.backedUp('web', [4], 1, { proxyIdleSeconds: 0, proxyActivationSeconds: 30 });
    pool.approach('web', MINUTE);
    pool.run();
    pool.now += MINUTE + 29 * SECOND;
    pool.run();
    expect(pool.up()).toHaveLength(1);
    pool.now += SECOND;
    pool.run();
    expect(pool.up()).toEqual([]);
  });

  test('is let go of at once when the backup goes without proxies this time', () => {
    const pool = new WarmPool();
    pool.backedUp('web', [4], 1, { proxyIdleSeconds: 0 });
    pool.approach('web', MINUTE);
    pool.run();
    pool.request(again('web', [1], 0));
    pool.run();
    expect(pool.up()).toEqual([]);
  });
});

test('what did not come up beforehand is no loss to the backup: it starts its own', () => {
  const pool = new WarmPool();
  pool.backedUp('web', [4], 1);
  pool.approach('web', MINUTE);
  const [booting] = pool.settle();
  expect(booting?.type).toBe('ActivateProxy');
  const proxyId = [...pool.pool.proxies.keys()][0] ?? '';
  pool.append([{ type: 'ProxyLost', data: { hostId: 'lab', proxyId, reason: 'no memory' } }]);
  pool.run();
  pool.request(again('web', [4], 1));
  pool.run();
  expect(pool.leases()).toHaveLength(4);
});

test('a restart knows what is kept, and for what', () => {
  const pool = new WarmPool();
  pool.backedUp('web', [4, 4], 2);
  pool.approach('web', 5 * MINUTE);
  for (const action of pool.settle()) pool.append(confirmed(action));
  const before = structuredClone(pool.pool);
  pool.restart();
  expect(pool.pool).toEqual(before);
});

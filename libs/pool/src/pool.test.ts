import { describe, expect, test } from 'vitest';
import { confirmed, planOf, TestPool } from './pool.fixture.ts';

const typesOf = (pool: TestPool, from = 0): string[] => pool.history.slice(from).map(({ type }) => type);
const jobId = (plan: ReturnType<typeof planOf>, index: number): string =>
  plan.childJobs[index]?.childJobId ?? '';

describe('a backup through proxies', () => {
  test('takes the snapshot first, then proxies, then disks, and leases ports when all of them stand', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [2], 1));
    pool.run();
    expect(typesOf(pool)).toEqual([
      'ActivationRequested',
      'SnapshotRequested',
      'SnapshotTaken',
      'ProxiesChosen',
      'ProxyActivationRequested',
      'DiskAttachRequested',
      'ProxyActivated',
      'DiskAttached',
      'ProxiesActivated',
      'PortsLeased',
      'PortsLeased',
    ]);
  });

  test('runs more child jobs than ports in waves, and a released port serves the next job', () => {
    const pool = new TestPool();
    const plan = planOf('web', [5], 1, { maxPortsPerProxy: 2 });
    pool.request(plan);
    pool.run();
    expect(pool.leases()).toEqual(['web.d0.0@p1:0', 'web.d0.1@p1:1']);
    pool.finishJob(jobId(plan, 1));
    pool.run();
    expect(pool.leases()).toEqual(['web.d0.0@p1:0', 'web.d0.2@p1:1']);
    const waves = pool.history.flatMap((event) => (event.type === 'PortsLeased' ? [event.data.wave] : []));
    expect(waves).toEqual([1, 1, 2]);
  });

  test('gives a child job as many ports as it reads through at a time', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [3], 1, { maxPortsPerProxy: 4, portsPerChildJob: 2 }));
    pool.run();
    expect(pool.leases()).toEqual(['web.d0.0@p1:0+1', 'web.d0.1@p1:2+3']);
  });

  test('gives everything back when the backup has completed, and the proxy goes when its idle time is over', () => {
    const pool = new TestPool();
    const plan = planOf('web', [1], 1, { proxyIdleSeconds: 60 });
    pool.request(plan);
    pool.run();
    pool.finishJob(jobId(plan, 0));
    pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
    const before = pool.history.length;
    pool.run();
    expect(typesOf(pool, before)).toEqual([
      'DiskDetached',
      'ProxyIdle',
      'SnapshotReleased',
      'ProxyThroughputObserved',
      'RunClosed',
    ]);
    expect(pool.history.find(({ type }) => type === 'SnapshotReleased')?.data).toMatchObject({
      checkpoints: 'committed',
    });
    pool.now += 59_000;
    expect(pool.settle()).toEqual([]);
    pool.now += 1_000;
    pool.run();
    expect(pool.pool.proxies.size).toBe(0);
  });

  test('spreads many disks over its proxies instead of attaching every disk everywhere', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [1, 1, 1, 1], 2));
    pool.run();
    const attached = pool.history.flatMap((event) =>
      event.type === 'DiskAttached' ? [`${event.data.diskId}@${event.data.proxyId.split('-')[0]}`] : [],
    );
    expect(attached).toEqual(['d0@p1', 'd1@p1', 'd2@p2', 'd3@p2']);
  });
});

describe('sharing', () => {
  test('a second VM is served by the proxy that is up already, and the choice says why', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [2], 1));
    pool.run();
    pool.request(planOf('db', [2], 1));
    pool.run();
    const chosen = pool.history.filter((event) => event.type === 'ProxiesChosen').at(-1);
    expect(chosen?.data).toMatchObject({
      proxies: [{ shared: true, why: 'active already, 2 of 4 ports free, room for 12 more disks' }],
      shortfall: null,
    });
    expect(pool.leases()).toEqual(['web.d0.0@p1:0', 'web.d0.1@p1:1', 'db.d0.0@p1:2', 'db.d0.1@p1:3']);
  });

  test('only what sharing does not give is started', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [2], 1));
    pool.run();
    pool.request(planOf('db', [8], 3));
    pool.run();
    expect(pool.pool.proxies.size).toBe(3);
  });

  test('at the limit of the host the run goes on with fewer proxies, and says so', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [12], 3, { maxProxiesPerHost: 2 }));
    pool.run();
    const chosen = pool.history.find((event) => event.type === 'ProxiesChosen');
    expect(chosen?.data).toMatchObject({
      asked: 3,
      shortfall: expect.stringContaining('3 proxies were asked for and 2'),
    });
    expect(pool.leases()).toHaveLength(8);
  });

  test('a run that finds no room waits, and goes on when another run gives its disks back', () => {
    const pool = new TestPool();
    const first = planOf('web', [1], 1, { maxProxiesPerHost: 1, maxDisksPerProxy: 1 });
    pool.request(first);
    pool.run();
    pool.request(planOf('db', [1], 1, { maxProxiesPerHost: 1, maxDisksPerProxy: 1 }));
    pool.run();
    expect(pool.leases()).toEqual(['web.d0.0@p1:0']);
    pool.finishJob(jobId(first, 0));
    pool.run();
    expect(pool.leases()).toEqual(['db.d0.0@p1:0']);
  });

  test('two runs take turns at scarce ports', () => {
    const pool = new TestPool();
    const policy = { maxPortsPerProxy: 2, maxProxiesPerHost: 1 };
    const [web, db] = [planOf('web', [4], 1, policy), planOf('db', [4], 1, policy)];
    pool.request(web);
    pool.run();
    pool.request(db);
    pool.run();
    expect(pool.leases()).toEqual(['web.d0.0@p1:0', 'web.d0.1@p1:1']);
    pool.finishJob(jobId(web, 0));
    pool.run();
    expect(pool.leases()).toEqual(['web.d0.1@p1:1', 'db.d0.0@p1:0']);
  });
});

describe('losses', () => {
  test('what a lost proxy held is leased again at the proxies that are left', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [4], 2, { maxPortsPerProxy: 2 }));
    pool.run();
    const lost = [...pool.pool.proxies.keys()][0] ?? '';
    pool.append([{ type: 'ProxyLost', data: { hostId: 'lab', proxyId: lost, reason: 'killed' } }]);
    pool.run();
    expect(pool.pool.proxies.has(lost)).toBe(false);
    expect(pool.leases()).toHaveLength(2);
    const released = pool.history.flatMap((event) =>
      event.type === 'PortsReleased' ? [event.data.because] : [],
    );
    expect(released).toEqual(['proxy-lost', 'proxy-lost']);
  });

  test('when the only proxy is lost another is started', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [1], 1));
    pool.run();
    const lost = [...pool.pool.proxies.keys()][0] ?? '';
    pool.append([{ type: 'ProxyLost', data: { hostId: 'lab', proxyId: lost, reason: 'killed' } }]);
    pool.run();
    expect(pool.leases()).toEqual(['web.d0.0@p2:0']);
  });

  test('a host where no proxy ever comes up ends the run in an explained failure', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [1], 1));
    for (let i = 0; i < 40 && pool.pool.runs.size > 0; i += 1) {
      for (const action of pool.settle()) {
        if (action.type === 'ActivateProxy') {
          const { proxyId } = action;
          pool.append([{ type: 'ProxyLost', data: { hostId: 'lab', proxyId, reason: 'no memory' } }]);
        } else {
          pool.append(confirmed(action));
        }
      }
    }
    expect(pool.pool.runs.size).toBe(0);
    const failed = pool.history.find((event) => event.type === 'RunFailed');
    expect(failed?.data.refusal).toMatchObject({
      code: 'NoProxyCameUp',
      message: expect.stringContaining('no memory'),
    });
    expect(pool.history.find((event) => event.type === 'SnapshotReleased')?.data.checkpoints).toBe(
      'discarded',
    );
  });

  test('a child job that is interrupted too often fails the run with the last reason', () => {
    const pool = new TestPool();
    const plan = planOf('web', [1], 1, { maxAttemptsPerChildJob: 2 });
    pool.request(plan);
    pool.run();
    pool.finishJob(jobId(plan, 0), false);
    pool.run();
    expect(pool.leases(), 'a suspect proxy gets no work').toEqual([]);
    pool.observe();
    pool.run();
    expect(pool.leases()).toHaveLength(1);
    const events = pool.finishJob(jobId(plan, 0), false);
    expect(events.map(({ type }) => type)).toEqual(['PortsReleased', 'RunFailed']);
    expect(events[1]?.data).toMatchObject({
      refusal: { message: expect.stringContaining('the read failed') },
    });
  });
});

describe('a proxy on which a child job was interrupted', () => {
  test('is lost when the host says so, and the interruption is not held against the job', () => {
    const pool = new TestPool();
    const plan = planOf('web', [1], 1, { maxAttemptsPerChildJob: 2 });
    pool.request(plan);
    pool.run();
    for (let round = 1; round <= 3; round += 1) {
      pool.finishJob(jobId(plan, 0), false);
      pool.observe({ dead: true });
      pool.run();
      expect(pool.leases()).toEqual([`web.d0.0@p${round + 1}:0`]);
    }
  });

  test('is given up when three in a row were interrupted on it, although it is up', () => {
    const pool = new TestPool();
    const plan = planOf('web', [1], 1, { maxAttemptsPerChildJob: 9 });
    pool.request(plan);
    pool.run();
    for (let round = 0; round < 3; round += 1) {
      pool.finishJob(jobId(plan, 0), false);
      pool.observe();
      pool.run();
    }
    expect(pool.leases()).toEqual(['web.d0.0@p2:0']);
  });
});

describe('out of step', () => {
  test('a proxy that is being ended is given to no run: another is started', () => {
    const pool = new TestPool();
    const first = planOf('web', [1], 1, { proxyIdleSeconds: 60 });
    pool.request(first);
    pool.run();
    pool.finishJob(jobId(first, 0));
    pool.command({ type: 'EndRun', runId: first.backupId, outcome: 'completed' });
    pool.run();
    pool.now += 60_000;
    const ending = pool.settle().filter((action) => action.type === 'DeactivateProxy');
    expect(ending).toHaveLength(1);
    pool.request(planOf('db', [1], 1));
    pool.settle();
    for (const action of ending) pool.append(confirmed(action));
    pool.run();
    expect(pool.leases()).toEqual(['db.d0.0@p2:0']);
  });

  test('a run whose proxy is gone without a loss chooses again', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [1], 1));
    pool.run();
    const proxyId = [...pool.pool.proxies.keys()][0] ?? '';
    pool.append([{ type: 'ProxyDeactivated', data: { hostId: 'lab', proxyId, reason: 'removed by hand' } }]);
    expect([...(pool.pool.runs.values().next().value?.chosen?.keys() ?? [])]).toEqual([]);
  });

  test('a snapshot that is lost again and again ends the run with that reason', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [1], 1));
    for (let round = 0; round < 8; round += 1) {
      pool.run();
      pool.observe({ disks: false });
    }
    pool.run();
    const failed = pool.history.find((event) => event.type === 'RunFailed');
    expect(failed?.data.refusal.code).toBe('SnapshotLost');
    expect(pool.pool.runs.size).toBe(0);
  });
});

describe('direct to host', () => {
  test('starts no proxy, and leases streams of the host export', () => {
    const pool = new TestPool();
    pool.request(planOf('web', [3], 0, { maxDirectStreams: 2 }));
    pool.run();
    expect(typesOf(pool)).not.toContain('ProxyActivationRequested');
    expect(pool.leases()).toEqual(['web.d0.0@direct:0', 'web.d0.1@direct:1']);
  });
});

test('a command that already took effect, or comes too late, yields no events', () => {
  const pool = new TestPool();
  const plan = planOf('web', [1], 1);
  pool.request(plan);
  pool.run();
  const at = new Date(pool.now).toISOString();
  expect(pool.command({ type: 'RequestActivation', plan, at })).toEqual([]);
  const first = pool.finishJob(jobId(plan, 0));
  expect(first).toHaveLength(1);
  expect(pool.finishJob(jobId(plan, 0))).toEqual([]);
  pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'completed' });
  expect(pool.command({ type: 'EndRun', runId: plan.backupId, outcome: 'failed' })).toEqual([]);
});

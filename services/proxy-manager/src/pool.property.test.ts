import fc from 'fast-check';
import { expect, test } from 'vitest';
import { confirmed, HOST, planOf, TestPool } from './pool.fixture.ts';

/** One thing that can happen to a host; the number picks what it happens to. */
const happening = fc.record({
  what: fc.constantFrom(
    'request',
    'request',
    'act',
    'act on all',
    'act on all',
    'act on all',
    'finish',
    'finish',
    'interrupt',
    'lose proxy',
    'lose snapshot',
    'observe',
    'end',
    'restart',
    'wait',
  ),
  pick: fc.nat(1000),
});

const policy = fc.record({
  maxPortsPerProxy: fc.integer({ min: 1, max: 4 }),
  maxChildJobsPerProxy: fc.integer({ min: 1, max: 4 }),
  maxProxiesPerHost: fc.integer({ min: 1, max: 3 }),
  maxDisksPerProxy: fc.integer({ min: 1, max: 3 }),
  maxAttemptsPerChildJob: fc.integer({ min: 1, max: 3 }),
});

function live(
  pool: TestPool,
  policies: Parameters<typeof planOf>[3],
  history: readonly { what: string; pick: number }[],
): void {
  let requested = 0;
  for (const { what, pick } of history) {
    const leased = [...pool.pool.runs.values()].flatMap((run) =>
      [...run.jobs.values()].filter((job) => job.lease),
    );
    const runs = [...pool.pool.runs.values()];
    switch (what) {
      case 'request': {
        const jobs = [[1], [3], [1, 1], [2, 1, 1]][pick % 4] ?? [1];
        pool.request(planOf(`vm${requested}`, jobs, pick % 3, policies));
        requested += 1;
        break;
      }
      case 'act': {
        const actions = pool.settle();
        const action = actions[pick % Math.max(1, actions.length)];
        if (action !== undefined) pool.append(confirmed(action));
        break;
      }
      case 'act on all':
        for (const action of pool.settle()) pool.append(confirmed(action));
        pool.settle();
        break;
      case 'finish':
      case 'interrupt': {
        const job = leased[pick % Math.max(1, leased.length)];
        if (job !== undefined) pool.finishJob(job.childJobId, what === 'finish');
        break;
      }
      case 'lose proxy': {
        const proxies = [...pool.pool.proxies.values()].filter(
          (proxy) => proxy.kind === 'proxy' && proxy.state === 'active',
        );
        const proxyId = proxies[pick % Math.max(1, proxies.length)]?.proxyId;
        if (proxyId !== undefined)
          pool.append([{ type: 'ProxyLost', data: { hostId: HOST, proxyId, reason: 'killed' } }]);
        break;
      }
      case 'lose snapshot':
        pool.observe({ snapshots: false });
        break;
      case 'observe':
        pool.observe({ dead: pick % 4 === 0 });
        break;
      case 'end': {
        const run = runs[pick % Math.max(1, runs.length)];
        if (run) pool.command({ type: 'EndRun', backupId: run.order.backupId, outcome: 'cancelled' });
        break;
      }
      case 'restart':
        pool.restart();
        break;
      default:
        pool.now += pick * 100;
    }
    checkLimits(pool);
  }
}

/** The port invariant itself is asserted by the fold at every lease. */
function checkLimits(pool: TestPool): void {
  for (const proxy of pool.pool.proxies.values()) {
    if (proxy.kind === 'direct') continue;
    const jobs = new Set([...proxy.holders.values()].map(({ leaseId }) => leaseId));
    expect(jobs.size).toBeLessThanOrEqual(proxy.maxChildJobs);
    expect(proxy.attachments.size).toBeLessThanOrEqual(proxy.maxDisks);
    for (const port of proxy.holders.keys()) expect(proxy.ports.map(({ port }) => port)).toContain(port);
  }
  const fences = pool.history.flatMap((event) => (event.type === 'PortsLeased' ? [event.data.fence] : []));
  expect(new Set(fences).size).toBe(fences.length);
}

test('whatever happens, limits hold, and in the end every run is closed and everything is given back', () => {
  fc.assert(
    fc.property(policy, fc.array(happening, { maxLength: 60 }), (policies, history) => {
      const pool = new TestPool();
      live(pool, policies, history);
      for (let pass = 0; pass < 200 && pool.pool.runs.size > 0; pass += 1) {
        pool.observe();
        pool.run();
        for (const run of [...pool.pool.runs.values()]) {
          for (const job of run.jobs.values()) if (job.lease) pool.finishJob(job.childJobId);
          const done = [...run.jobs.values()].every(({ state }) => state === 'done');
          if (done) pool.command({ type: 'EndRun', backupId: run.order.backupId, outcome: 'completed' });
        }
      }
      expect([...pool.pool.runs.keys()]).toEqual([]);
      for (const proxy of pool.pool.proxies.values()) {
        expect(proxy.attachments.size).toBe(0);
        expect(proxy.holders.size).toBe(0);
      }
      pool.settle();
      pool.now += 3_600_000;
      pool.run();
      expect([...pool.pool.proxies.keys()]).toEqual([]);
      obligationsAreClosed(pool);
    }),
    { numRuns: 300 },
  );
});

/** Counted on the events, not on the fold: what was opened has its inverse behind it. */
function obligationsAreClosed(pool: TestPool): void {
  const open = new Set<string>();
  for (const { type, data } of pool.history) {
    if (type === 'SnapshotRequested') open.add(`snapshot ${data.backupId}`);
    if (type === 'SnapshotReleased') open.delete(`snapshot ${data.backupId}`);
    if (type === 'ProxyActivationRequested') open.add(`proxy ${data.proxyId}`);
    if (type === 'PortsLeased') open.add(`lease ${data.leaseId}`);
    if (type === 'PortsReleased') open.delete(`lease ${data.leaseId}`);
    if (type === 'DiskAttachRequested') open.add(`disk ${data.proxyId} ${data.backupId} ${data.diskId}`);
    if (type === 'DiskDetached') open.delete(`disk ${data.proxyId} ${data.backupId} ${data.diskId}`);
    if (type === 'ProxyDeactivated') open.delete(`proxy ${data.proxyId}`);
  }
  expect([...open]).toEqual([]);
}

test('the state is in the events alone: a restart at any moment changes nothing', () => {
  fc.assert(
    fc.property(policy, fc.array(happening, { maxLength: 40 }), (policies, history) => {
      const one = new TestPool();
      live(one, policies, history);
      const before = structuredClone(one.pool);
      one.restart();
      expect(one.pool).toEqual(before);
    }),
    { numRuns: 50 },
  );
});

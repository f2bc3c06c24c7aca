import fc from 'fast-check';
import { expect, test } from 'vitest';
import { happening, live, policy } from './happenings.fixture.ts';
import { TestPool } from './pool.fixture.ts';
import { isInstant } from './pool-state.ts';

/** The port invariant itself is asserted by the fold at every lease. */
function checkLimits(pool: TestPool, { maxProxiesPerHost }: { maxProxiesPerHost: number }): void {
  const there = [...pool.pool.proxyVms.values()].filter(({ state }) => state !== 'lost');
  expect(there.length).toBeLessThanOrEqual(maxProxiesPerHost);
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

test('whatever happens to backups and recoveries, limits hold, and in the end every run is closed and everything is given back', () => {
  fc.assert(
    fc.property(policy, fc.array(happening, { maxLength: 60, size: 'max' }), (policies, history) => {
      const pool = new TestPool();
      live(pool, policies, history, 0, (each) => checkLimits(each, policies));
      for (let pass = 0; pass < 200 && pool.pool.runs.size > 0; pass += 1) {
        pool.openMounts();
        pool.fill(64 * 1024 ** 2);
        pool.observe();
        pool.run();
        for (const run of [...pool.pool.runs.values()]) {
          const { runId, purpose } = run.order;
          if (run.paused && run.number % 2 === 0) pool.command({ type: 'CancelRun', runId, purpose });
          else if (run.paused) pool.command({ type: 'ResumeRun', runId, purpose, number: run.orders + 1 });
          for (const job of run.jobs.values()) if (job.lease) pool.finishJob(job.childJobId);
          const done = [...run.jobs.values()].every(({ state }) => state === 'done');
          // An instant recovery has none, and is done when its disks are filled.
          if (done && !isInstant(run))
            pool.command({ type: 'EndRun', runId: run.order.runId, outcome: 'completed' });
        }
      }
      expect([...pool.pool.runs.keys()]).toEqual([]);
      for (const proxy of pool.pool.proxies.values()) {
        expect(proxy.attachments.size).toBe(0);
        expect(proxy.holders.size).toBe(0);
      }
      // What was started beforehand comes up, and has no work.
      pool.run();
      // Longer than any idle time after the last due time.
      pool.now += 4 * 3_600_000;
      pool.run();
      expect([...pool.pool.proxies.keys()]).toEqual([]);
      obligationsAreClosed(pool);
      costsAddUp(pool);
      whatDrainsIsLeftAlone(pool);
    }),
    { numRuns: 300 },
  );
});

/** Counted on the events, not on the fold: what was opened has its inverse behind it. */
function obligationsAreClosed(pool: TestPool): void {
  const open = new Set<string>();
  const kept = new Set<string>();
  for (const { type, data } of pool.history) {
    if (type === 'SnapshotRequested') open.add(`snapshot ${data.runId}`);
    if (type === 'SnapshotReleased') open.delete(`snapshot ${data.runId}`);
    if (type === 'TargetRequested') open.add(`target ${data.runId}`);
    if (type === 'TargetRequested' && data.mounts) open.add(`mounts ${data.runId}`);
    if (type === 'TargetKept' || type === 'TargetDiscarded') open.delete(`target ${data.runId}`);
    if (type === 'TargetFilled' || type === 'TargetLeft' || type === 'TargetDiscarded')
      open.delete(`mounts ${data.runId}`);
    if (type === 'RunClosed') expect(open).not.toContain(`mounts ${data.runId}`);
    // Once it is a VM somebody may have worked in it.
    if (type === 'TargetDiscarded') expect(kept).not.toContain(data.runId);
    if (type === 'TargetKept') kept.add(data.runId);
    if (type === 'ProxyActivationRequested') open.add(`proxy ${data.proxyId}`);
    if (type === 'PortsLeased') open.add(`lease ${data.leaseId}`);
    if (type === 'PortsReleased') open.delete(`lease ${data.leaseId}`);
    if (type === 'DiskAttachRequested') open.add(`disk ${data.proxyId} ${data.runId} ${data.diskId}`);
    if (type === 'DiskDetached') open.delete(`disk ${data.proxyId} ${data.runId} ${data.diskId}`);
    if (type === 'ProxyDeactivated') open.delete(`proxy ${data.proxyId}`);
  }
  expect([...open]).toEqual([]);
}

/** What runs held is what proxies were held, to the millisecond, and no port was held longer than its proxy was there. */
function costsAddUp(pool: TestPool): void {
  let [ofRuns, ofProxies] = [0, 0];
  const ports = new Map<string, number>();
  for (const { type, data } of pool.history) {
    if (type === 'ProxyActivationRequested') ports.set(data.proxyId, data.ports);
    if (type === 'RunClosed') ofRuns += milliseconds(data.portSeconds);
    if (type !== 'ProxyDeactivated') continue;
    const { busyPortSeconds, upSeconds } = data.cost ?? {};
    ofProxies += milliseconds(busyPortSeconds);
    expect(milliseconds(busyPortSeconds)).toBeLessThanOrEqual(
      milliseconds(upSeconds) * (ports.get(data.proxyId) ?? 0),
    );
  }
  expect(ofRuns).toBe(ofProxies);
}

/** From its recycling on a proxy is given to nobody, and it is ended for that reason or lost. */
function whatDrainsIsLeftAlone(pool: TestPool): void {
  const draining = new Map<string, string>();
  for (const { type, data } of pool.history) {
    if (type === 'ProxyDraining') draining.set(data.proxyId, data.reason);
    if (type === 'ProxiesChosen' || type === 'ProxiesPrestarted')
      for (const { proxyId } of data.proxies) expect([...draining.keys()]).not.toContain(proxyId);
    if (type === 'ProxyRetiring' && !data.reason.startsWith('sick'))
      expect(data.reason).toMatch(draining.get(data.proxyId) ?? /^idle for/);
  }
}

/** Every cost is known: NaN is equal to nothing, and less than nothing. */
const milliseconds = (seconds: number | undefined): number => Math.round((seconds ?? Number.NaN) * 1000);
test('a paused run holds no port, and once the host has done what it was asked no disk at a proxy that is up; its hold stays', () => {
  fc.assert(
    fc.property(policy, fc.array(happening, { maxLength: 60, size: 'max' }), (policies, history) => {
      const pool = new TestPool();
      live(pool, policies, history);
      for (const [runId, { order, orders, outcome }] of pool.pool.runs)
        if (outcome === undefined)
          pool.command({ type: 'PauseRun', runId, purpose: order.purpose, number: orders + 1 });
      const holds = new Map([...pool.pool.runs].map(([runId, { hold }]) => [runId, hold]));
      pool.settle();
      const isPaused = (runId: string): boolean => {
        const run = pool.pool.runs.get(runId);
        return run?.paused === true && run.outcome === undefined;
      };
      const holders = [...pool.pool.proxies.values()].flatMap(({ holders }) => [...holders.values()]);
      expect(holders.filter(({ runId }) => isPaused(runId))).toEqual([]);
      const before = pool.history.length;
      pool.run();
      const used = [...pool.pool.proxyVms.values()].flatMap(({ attachments }) => [...attachments.values()]);
      expect(used.filter(({ runId }) => isPaused(runId))).toEqual([]);
      for (const { type, data } of pool.history.slice(before)) {
        if (type === 'PortsLeased' || type === 'DiskAttachRequested' || type === 'ProxiesChosen')
          expect(isPaused(data.runId)).toBe(false);
      }
      for (const [runId, { hold }] of pool.pool.runs)
        if (isPaused(runId)) expect(hold).toBe(holds.get(runId) === 'lost' ? 'ready' : holds.get(runId));
    }),
    { numRuns: 200 },
  );
});

test('the state is in the events alone: a restart at any moment changes nothing', () => {
  fc.assert(
    fc.property(policy, fc.array(happening, { maxLength: 40, size: 'max' }), (policies, history) => {
      const one = new TestPool();
      live(one, policies, history, 0, (each) => checkLimits(each, policies));
      const before = structuredClone(one.pool);
      one.restart();
      expect(one.pool).toEqual(before);
    }),
    { numRuns: 50 },
  );
});

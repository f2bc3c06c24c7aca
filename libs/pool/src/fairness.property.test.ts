/** Limits and fairness, whatever happens: under random histories, and under somebody who wants one run never to end. */
import { type HostPolicy, noHostPolicy, Priority, turnOf } from '@backhaul/contracts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { happening, live, policy } from './happenings.fixture.ts';
import { awaitsHold, OVERTAKING_MILLISECONDS_MAX } from './limits.ts';
import { HOST, planOf, recoveryPlanOf, TestPool } from './pool.fixture.ts';
import { attachmentKey, type HostEvent, isInstant, portsNeeded, proxiesOf, type Run } from './pool-state.ts';
import { isSick } from './proxy-health.ts';
import { awaitsProxies } from './run-steps.ts';

/**
 * Looks at every decision before it is folded: what it takes must have been there, and nobody's who was much before it. What is decided
 * together is decided on one pool: who waits only since another of these decisions is not passed over.
 */
class WatchedPool extends TestPool {
  override append(events: readonly HostEvent[]): void {
    const open = [...this.pool.runs.values()];
    const waitedBefore = {
      begin: open.filter((run) => awaitsHold(run) && !isInstant(run)),
      proxies: open.filter((run) => awaitsProxies(this.pool, run)),
      portsOf: new Map([...this.pool.proxies.keys()].map((id) => [id, this.#waitingFor(id)])),
    };
    for (const event of events) {
      this.#check(event, waitedBefore);
      super.append([event]);
    }
  }

  #check(event: HostEvent, waited: Waiting): void {
    const { policy, proxyVms, runs } = this.pool;
    const all = [...runs.values()];
    if (event.type === 'SnapshotRequested' || (event.type === 'TargetRequested' && !event.data.mounts)) {
      const open = all.filter((run) => !isInstant(run) && ['requested', 'ready', 'lost'].includes(run.hold));
      const begun = all.filter(({ hold, paused }) => hold !== 'none' && !paused);
      expect(open.length).toBeLessThan(policy.maxOpenSnapshots ?? Number.POSITIVE_INFINITY);
      expect(begun.length).toBeLessThan(policy.maxRuns ?? Number.POSITIVE_INFINITY);
      this.#notBefore(event.data.runId, waited.begin.filter(awaitsHold), 0);
    }
    if (event.type === 'ProxyActivationRequested')
      expect([...proxyVms.values()].filter(({ state }) => state !== 'lost').length).toBeLessThan(
        policy.maxProxies ?? Number.POSITIVE_INFINITY,
      );
    if (event.type === 'ProxiesChosen')
      this.#notBefore(
        event.data.runId,
        waited.proxies.filter((run) => awaitsProxies(this.pool, run)),
        OVERTAKING_MILLISECONDS_MAX,
      );
    if (event.type === 'PortsLeased') {
      const { vmId, ports, runId, proxyId } = event.data;
      const held = all
        .filter(({ order }) => order.vmId === vmId)
        .flatMap(({ jobs }) => [...jobs.values()])
        .reduce((sum, { lease }) => sum + (lease?.ports.length ?? 0), 0);
      if (held > 0)
        expect(held + ports.length).toBeLessThanOrEqual(policy.maxPortsPerVm ?? Number.POSITIVE_INFINITY);
      const still = this.#waitingFor(proxyId);
      const passedOver = (waited.portsOf.get(proxyId) ?? []).filter((run) => still.includes(run));
      this.#notBefore(runId, passedOver, OVERTAKING_MILLISECONDS_MAX);
    }
  }

  /** Who holds nothing and could use ports of that proxy, of which there are enough when others have given theirs back. */
  #waitingFor(proxyId: string): Run[] {
    return [...this.pool.runs.values()].filter((run) => {
      const proxy = proxiesOf(this.pool, run).find((each) => each.proxyId === proxyId);
      if (
        proxy === undefined ||
        proxy.suspect ||
        isSick(proxy) ||
        proxy.ports.length < portsNeeded(run, proxy)
      )
        return false;
      if (run.leased > 0 || !run.announced || run.outcome !== undefined || run.hold !== 'ready') return false;
      // What another run of its VM holds keeps it waiting for that one, and for nobody else.
      if (this.pool.policy.maxPortsPerVm !== null && this.pool.portsOfVm.has(run.order.vmId)) return false;
      return [...run.waiting.keys()].some(
        (diskId) => proxy.attachments.get(attachmentKey(run.order.runId, diskId))?.state === 'attached',
      );
    });
  }

  /** That run is given what those wait for: it is not younger than any of them by more than that. */
  #notBefore(runId: string, waiting: readonly Run[], milliseconds: number): void {
    const served = this.pool.runs.get(runId);
    for (const other of waiting)
      if (served !== undefined && other !== served)
        expect(turnOf(served.order)).toBeLessThanOrEqual(turnOf(other.order) + milliseconds);
  }
}

interface Waiting {
  readonly begin: readonly Run[];
  readonly proxies: readonly Run[];
  readonly portsOf: ReadonlyMap<string, readonly Run[]>;
}

test('whatever happens, no limit is passed by anything new, and nobody is overtaken by who is much younger', () => {
  fc.assert(
    fc.property(policy, fc.array(happening, { minLength: 20, maxLength: 80 }), (policies, history) => {
      live(new WatchedPool(), policies, history);
    }),
    { numRuns: 100 },
  );
});

const HOUR_MILLISECONDS = 3_600_000;
/** No run is younger than another by more and still before it: the widest difference of two head starts. */
const HEAD_START_HOURS_MAX = 60;

interface Wanted {
  readonly priority: Priority;
  readonly jobs: readonly number[];
  readonly ports: number;
  readonly recovery: boolean;
}

const adversary = fc.record({
  policy: fc.record({
    maxPortsPerProxy: fc.integer({ min: 1, max: 3 }),
    maxChildJobsPerProxy: fc.integer({ min: 1, max: 3 }),
    maxProxiesPerHost: fc.integer({ min: 1, max: 2 }),
    maxDisksPerProxy: fc.integer({ min: 1, max: 4 }),
    proxyIdleSeconds: fc.constantFrom(0, 60),
  }),
  limits: fc.record({
    maxRuns: fc.constantFrom(null, 3),
    maxOpenSnapshots: fc.constantFrom(null, 2),
    maxPortsPerVm: fc.constantFrom(null, 1),
    maxProxies: fc.constantFrom(null, 1),
  }),
  victim: fc.record({
    priority: fc.constantFrom(...Priority.options),
    jobs: fc.constantFrom([1], [2], [1, 1]),
    ports: fc.integer({ min: 1, max: 3 }),
    recovery: fc.boolean(),
  }),
  /** What the next one that comes asks for, and which of the leases that may end does. */
  moves: fc.array(
    fc.record({
      priority: fc.constantFrom(...Priority.options),
      disks: fc.constantFrom([1], [1, 1], [2]),
      ports: fc.integer({ min: 1, max: 2 }),
      end: fc.nat(100),
      trouble: fc.constantFrom('none', 'none', 'none', 'none', 'none', 'none', 'restart', 'lose proxy'),
    }),
    { minLength: 10, maxLength: 40 },
  ),
});

test('a run ends, whoever comes after it and whenever: no stream of others keeps it from what it needs', () => {
  fc.assert(
    fc.property(adversary, ({ policy: proxies, limits, victim, moves }) => {
      const pool = new TestPool();
      pool.command(adoption(limits));
      const enough = (ports: number) => ({
        ...proxies,
        maxPortsPerProxy: Math.max(proxies.maxPortsPerProxy, ports),
        ...{ portsPerChildJob: ports, portsPerStream: ports },
      });
      let came = 0;
      const request = (name: string, { priority, jobs, ports, recovery }: Wanted): void => {
        const makePlan = recovery ? recoveryPlanOf : planOf;
        const askedAt = new Date(pool.now).toISOString();
        pool.request({ ...makePlan(name, jobs, 1, enough(ports)), priority, askedAt });
      };
      const leasedAt = new Map<string, number>();
      let losses = 0;

      const step = (number: number): void => {
        const move = moves[number % moves.length] as (typeof moves)[number];
        // The host is never without others that want all of it.
        while (pool.pool.runs.size < 6) {
          came += 1;
          const { priority, disks: jobs, ports } = move;
          request(`other-${came}`, { priority, jobs, ports, recovery: false });
        }
        pool.run();
        if (move.trouble === 'restart') pool.restart();
        const up = [...pool.pool.proxyVms.values()].filter(({ state }) => state === 'active');
        const lost = up[move.end % Math.max(1, up.length)];
        if (move.trouble === 'lose proxy' && lost !== undefined && losses < 3) {
          losses += 1;
          pool.append([
            { type: 'ProxyLost', data: { hostId: HOST, proxyId: lost.proxyId, reason: 'killed' } },
          ]);
          pool.run();
        }
        finishSome(pool, leasedAt, number, move.end);
        pool.run();
      };

      step(0);
      request('victim', victim);
      const victimId = [...pool.pool.runs.values()].find(({ order }) => order.vmId === 'victim')?.order.runId;
      const ended = (): boolean => !pool.pool.runs.has(victimId ?? '');
      const steps = HEAD_START_HOURS_MAX + 140;
      let number = 1;
      for (; number < steps && !ended(); number += 1) {
        pool.now += HOUR_MILLISECONDS;
        step(number);
      }
      expect({ ended: ended(), number }).toMatchObject({ ended: true });
    }),
    { numRuns: 60 },
  );
});

const adoption = (limits: Partial<HostPolicy>) =>
  ({ type: 'AdoptPolicy', policy: { ...noHostPolicy, ...limits }, revision: 1 }) as const;

/** A child job takes as long as the adversary likes, up to five steps; and a run whose jobs are done is over. */
function finishSome(pool: TestPool, leasedAt: Map<string, number>, now: number, pick: number): void {
  const leases = [...pool.pool.runs.values()].flatMap(({ jobs }) =>
    [...jobs.values()].flatMap(({ lease }) => (lease === undefined ? [] : [lease])),
  );
  for (const { leaseId } of leases) if (!leasedAt.has(leaseId)) leasedAt.set(leaseId, now);
  const picked = leases[pick % Math.max(1, leases.length)];
  for (const lease of leases)
    if (lease === picked || now - (leasedAt.get(lease.leaseId) ?? now) >= 5) pool.finishJob(lease.childJobId);
  for (const run of [...pool.pool.runs.values()])
    if ([...run.jobs.values()].every(({ state }) => state === 'done'))
      pool.command({ type: 'EndRun', runId: run.order.runId, outcome: 'completed' });
}

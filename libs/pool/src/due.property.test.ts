/** The index against the walk that it spares: whatever has happened, both find the same things due. */
import { turnOf, weightOf } from '@backhaul/contracts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Action } from './actions.ts';
import { chooseProxies, missingAttachments, noClaims } from './choose-proxies.ts';
import { dated } from './dated.ts';
import { happening, live, policy } from './happenings.fixture.ts';
import { OVERTAKING_MILLISECONDS_MAX } from './limits.ts';
import { decisionsNow, dueActions } from './next-steps.ts';
import { TestPool } from './pool.fixture.ts';
import type { HostEvent, Job, Lease, Pool, Run } from './pool.ts';
import { attachmentKey, isInstant, jobsAtOnce, portsNeeded, proxiesOf } from './pool-state.ts';
import { byHealth, isSick } from './proxy-health.ts';
import { proxySteps } from './proxy-steps.ts';
import { drainingNow } from './recycling.ts';
import { awaitsProxies, lacksAttachment, stepsOf } from './run-steps.ts';

/** Everything that is open is asked, as if there were no index. */
function naively(pool: Pool, now: number): { decisions: HostEvent[]; actions: Action[] } {
  const runs = [...pool.runs.values()];
  const all = runs.map((run) => stepsOf(pool, run));
  const decisions = all.flatMap((steps) => steps.decisions);
  decisions.push(...naiveHolds(pool, runs));
  const claims = noClaims();
  for (const run of inTurn(runs))
    if (lacksAttachment(pool, run)) decisions.push(...missingAttachments(pool, run, claims));
  const hopeless = new Set<string>();
  let closedAfter = Number.POSITIVE_INFINITY;
  for (const run of inTurn(runs.filter((run) => awaitsProxies(pool, run)))) {
    if (turnOf(run.order) > closedAfter) break;
    const need = `${run.order.portsPerChildJob} ${run.order.maxProxiesPerHost}`;
    if (hopeless.has(need)) continue;
    const chosen = chooseProxies(pool, run, claims);
    if (chosen.length === 0) {
      hopeless.add(need);
      closedAfter = Math.min(closedAfter, turnOf(run.order) + OVERTAKING_MILLISECONDS_MAX);
    }
    decisions.push(...chosen);
  }
  const actions = all.flatMap((steps) => steps.actions);
  for (const proxy of pool.proxies.values()) {
    if (proxy.kind !== 'proxy') continue;
    const steps = proxySteps(pool, proxy, now);
    actions.push(...steps.actions);
    if (claims.disksAt(proxy.proxyId) === 0) decisions.push(...steps.decisions);
  }
  return { decisions: dated(decisions, new Date(now).toISOString()), actions };
}

const inTurn = (runs: readonly Run[]): Run[] =>
  runs.toSorted((a, b) => turnOf(a.order) - turnOf(b.order) || a.number - b.number);

interface Queue {
  readonly run: Run;
  waiting: Job[];
  held: number;
}

function naiveHolds(pool: Pool, runs: readonly Run[]): HostEvent[] {
  const { maxRuns, maxOpenSnapshots } = pool.policy;
  let begun = runs.filter(({ hold, paused }) => hold !== 'none' && !paused).length;
  let open = runs.filter(
    (run) => !isInstant(run) && ['requested', 'ready', 'lost'].includes(run.hold),
  ).length;
  const events: HostEvent[] = [];
  for (const { order } of inTurn(
    runs.filter((run) => !isInstant(run) && run.hold === 'none' && run.outcome === undefined && !run.paused),
  )) {
    if ((maxRuns !== null && begun >= maxRuns) || (maxOpenSnapshots !== null && open >= maxOpenSnapshots))
      break;
    begun += 1;
    open += 1;
    const { hostId, runId, vmId } = order;
    const type = order.purpose === 'backup' ? 'SnapshotRequested' : 'TargetRequested';
    events.push({ type, data: { hostId, runId, vmId } });
  }
  return events;
}

/** Every lease in turn: of all runs the one with the fewest ports for its weight that fits anywhere. `job @proxy ports`. */
function naiveLeases(pool: Pool): string[] {
  const use = new Map(
    [...pool.proxies.values()].map((proxy) => [
      proxy.proxyId,
      {
        ports: new Set(proxy.holders.keys()),
        jobs: new Set([...proxy.holders.values()].map((l) => l.leaseId)).size,
      },
    ]),
  );
  const queues: Queue[] = [...pool.runs.values()]
    .filter((run) => run.announced && run.outcome === undefined && run.hold === 'ready')
    .map((run) => ({
      run,
      waiting: [...run.jobs.values()].filter((job) => job.state === 'waiting'),
      held: [...run.jobs.values()].filter((job) => job.state === 'leased').length,
    }));
  const leases: string[] = [];
  const grantOne = (): boolean => {
    const closedAfter = closings();
    for (const queue of queues.toSorted(byShare)) {
      for (const job of queue.waiting) {
        const fit = fitting(queue.run).find(
          ({ proxy }) =>
            turnOf(queue.run.order) <= (closedAfter.get(proxy.proxyId) ?? Number.POSITIVE_INFINITY) &&
            proxy.attachments.get(attachmentKey(queue.run.order.runId, job.diskId))?.state === 'attached',
        );
        if (fit === undefined) continue;
        const ports = fit.free.slice(0, portsNeeded(queue.run, fit.proxy));
        const taken = use.get(fit.proxy.proxyId);
        for (const port of ports) taken?.ports.add(port);
        if (taken !== undefined) taken.jobs += 1;
        const { vmId } = queue.run.order;
        ofVm.set(vmId, (ofVm.get(vmId) ?? 0) + ports.length);
        queue.held += 1;
        queue.waiting = queue.waiting.filter((each) => each !== job);
        leases.push(`${job.childJobId} @${fit.proxy.proxyId} ${ports.join('+')}`);
        return true;
      }
    }
    return false;
  };
  const ofVm = new Map<string, number>();
  for (const { vmId, ports } of new Set(
    [...pool.proxies.values()].flatMap(({ holders }) => [...holders.values()]),
  ))
    ofVm.set(vmId, (ofVm.get(vmId) ?? 0) + ports.length);
  const vmAllows = (run: Run, ports: number): boolean => {
    const held = ofVm.get(run.order.vmId) ?? 0;
    const { maxPortsPerVm } = pool.policy;
    return maxPortsPerVm === null || held === 0 || held + ports <= maxPortsPerVm;
  };
  const byShare = (a: Queue, b: Queue): number => {
    const [one, other] = [a.run.order, b.run.order].map(({ priority }) => weightOf(priority));
    return (
      a.held / (one ?? 1) - b.held / (other ?? 1) ||
      turnOf(a.run.order) - turnOf(b.run.order) ||
      a.run.number - b.run.number
    );
  };
  /** Of each proxy with something free, the latest turn that is served there, because an older run that holds nothing needs more than is free. */
  const closings = (): Map<string, number> => {
    const until = new Map<string, number>();
    for (const { run, waiting, held } of queues) {
      if (held > 0) continue;
      for (const proxy of proxiesOf(pool, run).filter((each) => !each.suspect && !isSick(each))) {
        const ports = portsNeeded(run, proxy);
        const attached = waiting.some(
          ({ diskId }) => proxy.attachments.get(attachmentKey(run.order.runId, diskId))?.state === 'attached',
        );
        const fits = fitting(run).some((each) => each.proxy === proxy);
        if (!attached || fits || !vmAllows(run, ports) || proxy.ports.length < ports) continue;
        const before = until.get(proxy.proxyId) ?? Number.POSITIVE_INFINITY;
        until.set(proxy.proxyId, Math.min(before, turnOf(run.order) + OVERTAKING_MILLISECONDS_MAX));
      }
    }
    return until;
  };
  const fitting = (run: Run) =>
    proxiesOf(pool, run)
      .filter((proxy) => !proxy.suspect && !isSick(proxy) && vmAllows(run, portsNeeded(run, proxy)))
      .map((proxy) => ({
        proxy,
        free: proxy.ports
          .map(({ port }) => port)
          .filter((port) => use.get(proxy.proxyId)?.ports.has(port) !== true),
        jobs: use.get(proxy.proxyId)?.jobs ?? 0,
      }))
      .filter(
        ({ proxy, free, jobs }) => free.length >= portsNeeded(run, proxy) && jobs < jobsAtOnce(run, proxy),
      )
      .sort(
        (a, b) =>
          byHealth(a.proxy, b.proxy) || a.jobs - b.jobs || (a.proxy.proxyId < b.proxy.proxyId ? -1 : 1),
      );
  while (grantOne());
  return leases;
}

const readable = ({ childJobId, proxyId, ports }: Lease): string =>
  `${childJobId} @${proxyId} ${ports.map(({ port }) => port).join('+')}`;
const sorted = (items: readonly unknown[]): string[] => items.map((item) => JSON.stringify(item)).sort();

function expectSame(test: TestPool): void {
  const { pool, now } = test;
  const found = decisionsNow(pool, now);
  const leases = found.flatMap((event) => (event.type === 'PortsLeased' ? [readable(event.data)] : []));
  const naive = naively(pool, now);
  expect(sorted([...dueActions(pool)])).toEqual(sorted(naive.actions));
  // What is over is found before anything else is decided.
  const draining = drainingNow(pool, now);
  if (draining.length > 0) {
    expect(found).toEqual(draining);
    return;
  }
  expect(sorted(found.filter(({ type }) => type !== 'PortsLeased'))).toEqual(sorted(naive.decisions));
  expect(leases).toEqual(naiveLeases(pool));
}

/** Compares after every append, decided or confirmed: a pool at rest has little to find. */
class ComparedPool extends TestPool {
  override append(events: readonly HostEvent[]): void {
    super.append(events);
    expectSame(this);
  }
}

test('the index finds the same decisions, leases and actions as a walk over all that is open', () => {
  fc.assert(
    fc.property(
      fc.array(policy, { minLength: 1, maxLength: 3 }),
      fc.array(happening, { minLength: 20, maxLength: 80 }),
      (policies, history) => {
        const pool = new ComparedPool();
        for (const [index, each] of history.entries()) {
          live(pool, policies[index % policies.length] ?? {}, [each], index);
        }
      },
    ),
    { numRuns: 150 },
  );
});

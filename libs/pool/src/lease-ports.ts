/**
 * Who gets which ports, decided on the pool as it stands. Pure.
 * The rule: runs take turns, the one with the fewest ports held for its weight first, and then by priority and age (line.ts); within a
 * run, jobs go in the plan's order, each to the least busy proxy (one in good health before a degraded one) that is neither suspect nor
 * sick, has its disk attached, ports free and room for one more child job. What finds no port waits for the next release: the next
 * wave. Looked at are the heads of the lines at proxies with a free port, and nobody behind them.
 * Nobody starves: a run that holds nothing and needs more than is free at a proxy is overtaken there only by runs that are not much
 * younger (limits.ts); from then on what becomes free is kept for it.
 */
import { exportUri } from '@backhaul/contracts';
import { derivedId, invariant } from '@backhaul/kernel';
import { OVERTAKING_MILLISECONDS_MAX, vmMayHold } from './limits.ts';
import { byTurn, placeOf } from './line.ts';
import {
  attachmentKey,
  type HostEvent,
  type Job,
  jobsAtOnce,
  type Lease,
  type Place,
  type Pool,
  type PooledProxy,
  portsNeeded,
  proxiesOf,
  type Run,
} from './pool-state.ts';
import { byHealth, isSick } from './proxy-health.ts';

/** Leases for as many waiting jobs as there are ports for. */
export function leasesNow(pool: Pool): HostEvent[] {
  if (pool.due.free.size === 0) return [];
  const taken = new Taken();
  const lines = new Lines(pool, taken);
  const asking = new Map<string, Asking>();
  const events: HostEvent[] = [];
  for (;;) {
    const heads = [...lines.heads(), ...[...asking.values()].map(({ place }) => place)].sort(byTurn);
    const lease = firstThat(heads, ({ runId }) => {
      const run = pool.runs.get(runId);
      if (run === undefined) return undefined;
      const asks = asking.get(runId) ?? askingOf(pool, run);
      const found = firstThatFits(pool, run, asks, taken, lines);
      lines.pass(runId);
      if (found === undefined) {
        // What is taken stays taken: it will not fit in this look.
        asking.delete(runId);
        return undefined;
      }
      asking.set(runId, served(asks, found.job));
      taken.add(run, found.proxy, found.ports);
      return leaseOf(run, found.job, found.proxy, found.ports, {
        fence: pool.fence + events.length + 1,
        wave: Math.floor(asks.started / Math.max(1, asks.slots)) + 1,
      });
    });
    if (lease === undefined) return events;
    events.push({ type: 'PortsLeased', data: lease });
  }
}

/** What this look has taken, on top of what is held. */
class Taken {
  readonly #use = new Map<string, { readonly ports: Set<number>; jobs: number }>();
  readonly #ofVm = new Map<string, number>();

  of(proxy: PooledProxy): { readonly ports: ReadonlySet<number>; readonly jobs: number } {
    let use = this.#use.get(proxy.proxyId);
    if (use === undefined) {
      const jobs = new Set([...proxy.holders.values()].map((lease) => lease.leaseId)).size;
      use = { ports: new Set(proxy.holders.keys()), jobs };
      this.#use.set(proxy.proxyId, use);
    }
    return use;
  }

  add({ order }: Run, proxy: PooledProxy, ports: readonly number[]): void {
    this.#ofVm.set(order.vmId, this.byVmOf({ order }) + ports.length);
    this.of(proxy);
    const use = this.#use.get(proxy.proxyId);
    invariant(use !== undefined, 'What is looked at is counted');
    for (const port of ports) use.ports.add(port);
    use.jobs += 1;
  }

  byVmOf({ order }: Pick<Run, 'order'>): number {
    return this.#ofVm.get(order.vmId) ?? 0;
  }

  freePorts(proxy: PooledProxy): number[] {
    const { ports } = this.of(proxy);
    return proxy.ports.map(({ port }) => port).filter((port) => !ports.has(port));
  }
}

/** Of runs that need the same there. `at`: how far this look has come in it. */
interface Line {
  readonly proxy: PooledProxy;
  readonly ports: number;
  readonly jobs: number;
  readonly line: readonly Place[];
  at: number;
}

/** The lines at proxies with a free port, and how far this look has come in each. */
class Lines {
  readonly #lines: Line[] = [];
  readonly #passed = new Set<string>();
  /** By proxy, the latest turn that is served there. */
  readonly #closedAfter = new Map<string, number>();
  readonly #taken: Taken;

  constructor(pool: Pool, taken: Taken) {
    this.#taken = taken;
    for (const proxyId of pool.due.free) {
      const proxy = pool.proxies.get(proxyId);
      if (proxy === undefined) continue;
      for (const [need, line] of pool.due.serving.get(proxyId) ?? []) {
        const [ports = 0, jobs = 0] = need.split('/').map(Number);
        this.#lines.push({ proxy, ports, jobs, line, at: 0 });
      }
    }
  }

  /** The first of each line for which its proxy has what it needs. */
  *heads(): Generator<Place> {
    this.#closeToYounger();
    const seen = new Set<string>();
    for (const each of this.#lines) {
      const head = this.#head(each);
      if (head === undefined || !this.#serves(each) || !this.isOpenTo(each.proxy, head)) continue;
      if (seen.has(head.runId)) continue;
      seen.add(head.runId);
      yield head;
    }
  }

  /** False: what is free there is kept for somebody older. */
  isOpenTo({ proxyId }: PooledProxy, { turn }: Place): boolean {
    return turn <= (this.#closedAfter.get(proxyId) ?? Number.POSITIVE_INFINITY);
  }

  #closeToYounger(): void {
    this.#closedAfter.clear();
    for (const each of this.#lines) {
      const { proxy, ports } = each;
      const head = this.#head(each);
      if (head === undefined || head.held > 0 || this.#serves(each) || proxy.ports.length < ports) continue;
      const until = head.turn + OVERTAKING_MILLISECONDS_MAX;
      const before = this.#closedAfter.get(proxy.proxyId) ?? Number.POSITIVE_INFINITY;
      this.#closedAfter.set(proxy.proxyId, Math.min(before, until));
    }
  }

  #serves({ proxy, ports, jobs }: Line): boolean {
    return this.#taken.of(proxy).jobs < jobs && this.#taken.freePorts(proxy).length >= ports;
  }

  #head(each: Line): Place | undefined {
    while (this.#passed.has(each.line[each.at]?.runId ?? '')) each.at += 1;
    return each.line[each.at];
  }

  pass(runId: string): void {
    this.#passed.add(runId);
  }
}

function firstThat<T, R>(items: readonly T[], found: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const result = found(item);
    if (result !== undefined) return result;
  }
  return undefined;
}

/** A run in this look: its place moves back with every port it is given. */
interface Asking {
  readonly place: Place;
  readonly waiting: readonly Job[];
  readonly started: number;
  readonly slots: number;
}

function askingOf(pool: Pool, run: Run): Asking {
  const jobs = [...run.jobs.values()];
  return {
    place: placeOf(run, run.leased),
    waiting: jobs.filter((job) => job.state === 'waiting'),
    started: jobs.filter((job) => job.attempts > 0).length,
    slots: slotsOf(pool, run),
  };
}

const served = (asks: Asking, job: Job): Asking => ({
  ...asks,
  place: { ...asks.place, held: asks.place.held + 1 },
  waiting: asks.waiting.filter((each) => each !== job),
  started: asks.started + 1,
});

function firstThatFits(
  pool: Pool,
  run: Run,
  { place, waiting }: Asking,
  taken: Taken,
  lines: Lines,
): { job: Job; proxy: PooledProxy; ports: number[] } | undefined {
  const proxies = proxiesOf(pool, run)
    .filter((proxy) => !proxy.suspect && !isSick(proxy) && lines.isOpenTo(proxy, place))
    .filter((proxy) => vmMayHold(pool, run, portsNeeded(run, proxy), taken.byVmOf(run)))
    .map((proxy) => ({ proxy, free: taken.freePorts(proxy), jobs: taken.of(proxy).jobs }))
    .filter(
      ({ proxy, free, jobs }) => free.length >= portsNeeded(run, proxy) && jobs < jobsAtOnce(run, proxy),
    )
    .sort(
      (a, b) => byHealth(a.proxy, b.proxy) || a.jobs - b.jobs || (a.proxy.proxyId < b.proxy.proxyId ? -1 : 1),
    );
  if (proxies.length === 0) return undefined;
  // One look per disk, not per job: jobs of one disk fit or do not fit together.
  const hopeless = new Set<string>();
  for (const job of waiting) {
    if (hopeless.has(job.diskId)) continue;
    const key = attachmentKey(run.order.runId, job.diskId);
    const fit = proxies.find(({ proxy }) => proxy.attachments.get(key)?.state === 'attached');
    if (fit !== undefined)
      return { job, proxy: fit.proxy, ports: fit.free.slice(0, portsNeeded(run, fit.proxy)) };
    hopeless.add(job.diskId);
  }
  return undefined;
}

/** Child jobs that the run's proxies can serve at a time: the size of one wave. */
const slotsOf = (pool: Pool, run: Run): number =>
  proxiesOf(pool, run)
    .map((proxy) =>
      Math.min(jobsAtOnce(run, proxy), Math.floor(proxy.ports.length / portsNeeded(run, proxy))),
    )
    .reduce((sum, slots) => sum + slots, 0);

function leaseOf(
  run: Run,
  job: Job,
  proxy: PooledProxy,
  ports: readonly number[],
  order: { fence: number; wave: number },
): Lease {
  const { hostId, runId, vmId } = run.order;
  const attachment = proxy.attachments.get(attachmentKey(runId, job.diskId));
  invariant(attachment !== undefined, `Child job ${job.childJobId} has no disk`);
  const attempt = job.attempts + 1;
  return {
    hostId,
    runId,
    vmId,
    childJobId: job.childJobId,
    diskId: job.diskId,
    offset: job.offset,
    length: job.length,
    leaseId: derivedId('lease', job.childJobId, attempt),
    ...order,
    attempt,
    proxyId: proxy.proxyId,
    ports: ports.map((port) => {
      const endpoint = proxy.ports.find((candidate) => candidate.port === port)?.endpoint ?? '';
      return { port, uri: exportUri(endpoint, attachment.exportName) };
    }),
    ...whatIsDone(run, job.diskId),
  };
}

/** To read a frozen disk as it turned out to be, or to write one as it was ordered. */
function whatIsDone(run: Run, diskId: string) {
  if (run.order.purpose === 'recovery') {
    const ordered = run.order.disks.find((disk) => disk.diskId === diskId);
    const readBack = run.targets.get(diskId);
    invariant(
      ordered !== undefined && readBack !== undefined,
      `A child job writes a disk ${diskId} that is not there`,
    );
    return { purpose: 'recovery' as const, diskBytes: ordered.sizeBytes, readBack };
  }
  const disk = run.disks.find((frozen) => frozen.diskId === diskId);
  invariant(disk !== undefined, `A child job reads a disk ${diskId} that is not frozen`);
  const { kind, sizeBytes, endpoint, changedContext } = disk;
  return {
    purpose: 'backup' as const,
    kind,
    diskBytes: sizeBytes,
    extents: { uri: endpoint, changedContext: kind === 'incremental' ? changedContext : null },
  };
}

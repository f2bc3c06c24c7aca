/**
 * Who gets which ports, decided on the pool as it stands. Pure.
 * The rule: runs take turns, the one with the fewest ports held first; within a run, jobs go in the plan's order, each to
 * the least busy proxy that is not suspect, has its disk attached, ports free and room for one more child job. What finds no
 * port waits for the next release: the next wave.
 */
import { type EventData, exportUri } from '@backhaul/contracts';
import { derivedId, invariant } from '@backhaul/kernel';
import {
  attachmentKey,
  directProxyId,
  type HostEvent,
  type Job,
  type Lease,
  type Pool,
  type PooledProxy,
  type Run,
} from './pool.ts';

/** Ports asked of a child job by this run on this proxy: in direct-to-host mode a job has one stream. */
const portsNeeded = (run: Run, proxy: PooledProxy): number =>
  proxy.kind === 'direct' ? 1 : run.order.portsPerChildJob;

/** Leases for as many waiting jobs as there are ports for. */
export function leasesNow(pool: Pool): HostEvent[] {
  const taken = new Map<string, { ports: Set<number>; jobs: number }>();
  for (const proxy of pool.proxies.values()) {
    const jobs = new Set([...proxy.holders.values()].map((lease) => lease.leaseId)).size;
    taken.set(proxy.proxyId, { ports: new Set(proxy.holders.keys()), jobs });
  }
  const queues = [...pool.runs.values()]
    .filter((run) => run.announced && run.outcome === undefined && run.snapshot === 'taken')
    .map((run) => ({
      run,
      waiting: [...run.jobs.values()].filter((job) => job.state === 'waiting'),
      held: [...run.jobs.values()].filter((job) => job.state === 'leased').length,
      started: [...run.jobs.values()].filter((job) => job.attempts > 0).length,
      slots: slotsOf(pool, run),
    }))
    .filter((queue) => queue.waiting.length > 0);

  const events: HostEvent[] = [];
  let fence = pool.fence;
  while (queues.length > 0) {
    queues.sort((a, b) => a.held - b.held);
    let granted = false;
    for (const queue of queues) {
      const found = firstThatFits(pool, queue.run, queue.waiting, taken);
      if (found === undefined) continue;
      fence += 1;
      const lease = leaseOf(queue.run, found.job, found.proxy, found.ports, {
        fence,
        wave: Math.floor(queue.started / Math.max(1, queue.slots)) + 1,
      });
      events.push({ type: 'PortsLeased', data: lease });
      const use = taken.get(found.proxy.proxyId) as { ports: Set<number>; jobs: number };
      for (const port of found.ports) use.ports.add(port);
      use.jobs += 1;
      queue.held += 1;
      queue.started += 1;
      queue.waiting.splice(queue.waiting.indexOf(found.job), 1);
      granted = true;
      break;
    }
    if (!granted) break;
    for (let i = queues.length - 1; i >= 0; i -= 1) if (queues[i]?.waiting.length === 0) queues.splice(i, 1);
  }
  return events;
}

function firstThatFits(
  pool: Pool,
  run: Run,
  waiting: readonly Job[],
  taken: ReadonlyMap<string, { ports: Set<number>; jobs: number }>,
): { job: Job; proxy: PooledProxy; ports: number[] } | undefined {
  const proxies = proxiesOf(pool, run)
    .filter((proxy) => !proxy.suspect)
    .map((proxy) => {
      const use = taken.get(proxy.proxyId);
      const free = proxy.ports.map(({ port }) => port).filter((port) => use?.ports.has(port) !== true);
      return { proxy, free, jobs: use?.jobs ?? 0 };
    })
    .filter(
      ({ proxy, free, jobs }) => free.length >= portsNeeded(run, proxy) && jobs < jobsAtOnce(run, proxy),
    )
    .sort((a, b) => a.jobs - b.jobs || (a.proxy.proxyId < b.proxy.proxyId ? -1 : 1));
  if (proxies.length === 0) return undefined;
  // One look per disk, not per job: jobs of one disk fit or do not fit together.
  const hopeless = new Set<string>();
  for (const job of waiting) {
    if (hopeless.has(job.diskId)) continue;
    const key = attachmentKey(run.order.backupId, job.diskId);
    const fit = proxies.find(({ proxy }) => proxy.attachments.get(key)?.state === 'attached');
    if (fit !== undefined)
      return { job, proxy: fit.proxy, ports: fit.free.slice(0, portsNeeded(run, fit.proxy)) };
    hopeless.add(job.diskId);
  }
  return undefined;
}

/** A shared proxy keeps its own limit, and a run with a tighter policy keeps that. */
const jobsAtOnce = (run: Run, proxy: PooledProxy): number =>
  proxy.kind === 'direct' ? proxy.ports.length : Math.min(proxy.maxChildJobs, run.order.maxChildJobsPerProxy);

/** The proxies a run reads through: those chosen for it that are up, or the host's own endpoint. */
export function proxiesOf(pool: Pool, run: Run): PooledProxy[] {
  const ids =
    run.order.mode === 'direct-to-host'
      ? [directProxyId(run.order.backupId)]
      : [...(run.chosen?.keys() ?? [])];
  return ids
    .map((id) => pool.proxies.get(id))
    .filter((proxy): proxy is PooledProxy => proxy?.state === 'active');
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
  const { hostId, backupId, vmId } = run.order;
  const attachment = proxy.attachments.get(attachmentKey(backupId, job.diskId));
  const disk = run.disks.find(({ diskId }) => diskId === job.diskId);
  invariant(
    attachment !== undefined && disk !== undefined,
    `Child job ${job.childJobId} has no disk to read`,
  );
  const attempt = job.attempts + 1;
  return {
    hostId,
    backupId,
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
    kind: disk.kind,
    diskBytes: disk.sizeBytes,
    extents: { uri: disk.endpoint, changedContext: disk.kind === 'incremental' ? disk.changedContext : null },
  };
}

/** The inverse of a lease: what it held, and why it holds it no more. */
export const releaseOf = (
  { hostId, backupId, childJobId, leaseId, proxyId, ports }: Lease,
  because: EventData<'PortsReleased'>['because'],
): HostEvent => ({
  type: 'PortsReleased',
  data: { hostId, backupId, childJobId, leaseId, proxyId, ports: ports.map(({ port }) => port), because },
});

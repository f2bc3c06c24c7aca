/** The fold of leases: who holds which port, what of a child job is done, what it has moved, and what has been paid for it (cost.ts). */
import type { EventData } from '@backhaul/contracts';
import { invariant } from '@backhaul/kernel';
import { portMilliseconds, sumOf } from './cost.ts';
import { paceWith } from './estimate.ts';
import { countJobs } from './open-run.ts';
import type { Job, Lease, Pool, Run } from './pool-state.ts';
import { withJob, withProxy, withRun } from './with-one.ts';

export function lease(pool: Pool, lease: Lease): void {
  pool.fence = Math.max(pool.fence, lease.fence);
  withProxy(pool, lease.proxyId, (proxy) => {
    for (const { port } of lease.ports) {
      const holder = proxy.holders.get(port);
      invariant(
        holder === undefined,
        `Port ${port} of proxy ${lease.proxyId} was leased to ${lease.childJobId} while ${holder?.childJobId} held it`,
      );
      proxy.holders.set(port, lease);
    }
  });
  withJob(pool, lease.runId, lease.childJobId, (job, run) => {
    invariant(job.lease === undefined, `Child job ${job.childJobId} was given a second lease`);
    if (job.state === 'waiting') countJobs(run.waiting, job.diskId, -1);
    run.leased += 1;
    countPorts(pool, run, lease.ports.length);
    job.state = 'leased';
    job.attempts = lease.attempt;
    job.lease = lease;
  });
}

export function release(pool: Pool, released: EventData<'PortsReleased'>): void {
  countCost(pool, released);
  if (released.moved !== undefined) countMoved(pool, released, released.moved);
  withProxy(pool, released.proxyId, (proxy) => {
    for (const port of released.ports) {
      if (proxy.holders.get(port)?.leaseId === released.leaseId) proxy.holders.delete(port);
    }
    if (released.because === 'completed') proxy.interruptionsInRow = 0;
    if (released.because !== 'interrupted') return;
    proxy.suspect = true;
    proxy.interruptionsInRow += 1;
  });
  withJob(pool, released.runId, released.childJobId, (job, run) => {
    if (job.lease?.leaseId !== released.leaseId) return;
    countPorts(pool, run, -job.lease.ports.length);
    if (released.because === 'completed') countPace(pool, job, job.lease, released);
    job.lease = undefined;
    run.leased -= 1;
    job.state = released.because === 'completed' ? 'done' : 'waiting';
    if (job.state === 'done') {
      countJobs(run.unfinished, job.diskId, -1);
      // Its disks served again what was lost before, and so did its proxies.
      run.holdsLost = 0;
      run.choicesInRow = 0;
    } else countJobs(run.waiting, job.diskId, 1);
    if (released.because !== 'interrupted') return;
    job.interruptions += 1;
    job.interruptedOn = released.proxyId;
    run.unexplained.set(job.childJobId, (run.unexplained.get(job.childJobId) ?? 0) + 1);
  });
}

/** Of a child job that was resumed, what it went through before took its time before, too: a little fast, and forgotten soon. */
function countPace(pool: Pool, job: Job, lease: Lease, released: EventData<'PortsReleased'>): void {
  const took = portMilliseconds(lease, released);
  if (took !== undefined) pool.pace = paceWith(pool.pace, job.length, took);
}

function countPorts({ portsOfVm }: Pool, { order }: Run, change: number): void {
  const held = (portsOfVm.get(order.vmId) ?? 0) + change;
  if (held === 0) portsOfVm.delete(order.vmId);
  else portsOfVm.set(order.vmId, held);
}

/** The host's own export is no proxy: it costs none. */
function countCost(pool: Pool, released: EventData<'PortsReleased'>): void {
  const proxy = pool.proxyVms.get(released.proxyId);
  const run = pool.runs.get(released.runId);
  const lease = run?.jobs.get(released.childJobId)?.lease;
  if (proxy === undefined || run === undefined || lease?.leaseId !== released.leaseId) return;
  const held = portMilliseconds(lease, released);
  proxy.portMilliseconds = sumOf(proxy.portMilliseconds, held);
  run.portMilliseconds = sumOf(run.portMilliseconds, held);
}

/** A child job that only found that its work had been done before has moved nothing. */
function countMoved(
  pool: Pool,
  { runId, proxyId, ports }: EventData<'PortsReleased'>,
  moved: NonNullable<EventData<'PortsReleased'>['moved']>,
): void {
  if (moved.bytes === 0) return;
  withRun(pool, runId, (run) => {
    const { bytes = 0, portSeconds = 0, childJobs = 0 } = run.moved.get(proxyId) ?? {};
    run.moved.set(proxyId, {
      bytes: bytes + moved.bytes,
      portSeconds: portSeconds + (moved.milliseconds * ports.length) / 1000,
      childJobs: childJobs + 1,
    });
  });
}

/** What was interrupted because the disks were served no more is not held against the child jobs. */
export function forgive(run: Run): void {
  for (const [childJobId, times] of run.unexplained) {
    const job = run.jobs.get(childJobId);
    if (job === undefined) continue;
    job.interruptions -= times;
    job.interruptedOn = undefined;
  }
  run.unexplained.clear();
}

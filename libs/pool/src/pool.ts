/**
 * The pool of one host: which runs are open, which proxies are up, and who holds which port. Folded from the stream
 * `host-<hostId>`, which is the consistency boundary for all three.
 *
 * Promises kept by those who append to the stream (commands.ts, next-steps.ts), and checked here as invariants:
 * a port never has two holders, and a child job never holds two leases.
 *
 * The fold owns its state and changes it in place: a host's stream is long, and a copy per event would make loading it
 * quadratic. Nobody else may change a pool.
 */
import type { EventData } from '@backhaul/contracts';
import { invariant } from '@backhaul/kernel';

import { noteDue } from './due.ts';
import { changeFill, letGoBy } from './fill.ts';
import { countJobs, openRun } from './open-run.ts';
import {
  type Attachment,
  attachmentKey,
  directProxyId,
  type HostEvent,
  type Job,
  type Lease,
  type Pool,
  type PooledProxy,
  type Run,
} from './pool-state.ts';

export * from './pool-state.ts';

/** History already happened, so the fold never refuses; an event from a newer release changes nothing. */
export function evolve(pool: Pool, event: HostEvent): Pool {
  change(pool, event);
  noteDue(pool, event);
  return pool;
}

function change(pool: Pool, event: HostEvent): void {
  switch (event.type) {
    case 'HostRegistered':
      pool.registered = event.data;
      break;
    case 'HostPolicyAdopted':
      pool.policy = event.data.policy;
      pool.policyRevision = event.data.revision;
      break;
    case 'ActivationRequested':
      pool.runsEver += 1;
      pool.runs.set(event.data.runId, openRun(event.data, pool.runsEver));
      break;
    case 'TargetRequested':
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'requested';
        run.fill.mounts = event.data.mounts;
      });
      break;
    case 'SnapshotRequested':
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'requested';
      });
      break;
    case 'SnapshotTaken':
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'ready';
        run.takenAt ??= event.data.takenAt;
        run.disks = event.data.disks;
      });
      break;
    case 'TargetCreated':
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'ready';
        run.targets = new Map(event.data.disks.map(({ diskId, endpoint }) => [diskId, endpoint]));
      });
      break;
    case 'SnapshotLost':
    case 'TargetLost':
      if (event.type === 'TargetLost') attachAgain(pool, event.data.runId);
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'lost';
        run.holdsLost += 1;
      });
      pool.proxies.delete(directProxyId(event.data.runId));
      break;
    case 'FillProgressed':
    case 'FillInterrupted':
    case 'TargetFilled':
      withRun(pool, event.data.runId, (run) => changeFill(run, event));
      break;
    case 'TargetKept':
    case 'SnapshotReleased':
    case 'TargetLeft':
    case 'TargetDiscarded':
      withRun(pool, event.data.runId, (run) => letGoBy(run, event.type));
      pool.proxies.delete(directProxyId(event.data.runId));
      break;
    case 'ProxiesChosen':
      withRun(pool, event.data.runId, (run) => {
        run.chosen = new Map(
          event.data.proxies.map(({ proxyId, shared, why }) => [proxyId, { shared, why }]),
        );
        run.shortfall = event.data.shortfall;
      });
      break;
    case 'ProxyActivationRequested':
      pool.proxiesEver += 1;
      addProxy(pool, requestedProxy(event.data));
      break;
    case 'ProxyActivated':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.state = 'active';
        proxy.ports = event.data.ports;
      });
      break;
    case 'DirectEndpointOpened':
      openDirect(pool, event.data);
      break;
    case 'ProxyLost':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.state = 'lost';
        proxy.endsBecause = event.data.reason;
      });
      forgetProxy(pool, event.data.proxyId);
      break;
    case 'ProxyHealthObserved':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.suspect = false;
      });
      break;
    case 'ProxyRetiring':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.state = 'retiring';
        proxy.endsBecause = event.data.reason;
      });
      break;
    case 'ProxyDeactivated':
      pool.proxies.delete(event.data.proxyId);
      pool.proxyVms.delete(event.data.proxyId);
      forgetProxy(pool, event.data.proxyId);
      for (const runId of pool.due.users.get(event.data.proxyId) ?? [])
        withRun(pool, runId, (run) => run.at.delete(event.data.proxyId));
      break;
    case 'ProxyIdle':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.idleSince = event.data.since;
      });
      break;
    case 'DiskAttachRequested':
      withProxy(pool, event.data.proxyId, (proxy) => {
        const { runId, diskId } = event.data;
        proxy.idleSince = undefined;
        proxy.attachments.set(attachmentKey(runId, diskId), {
          runId,
          diskId,
          state: 'requested',
          exportName: '',
        });
        withRun(pool, runId, (run) => run.at.add(event.data.proxyId));
      });
      break;
    case 'DiskAttached':
      withProxy(pool, event.data.proxyId, (proxy) => {
        const attachment = proxy.attachments.get(attachmentKey(event.data.runId, event.data.diskId));
        if (attachment === undefined) return;
        attachment.state = 'attached';
        attachment.exportName = event.data.exportName;
      });
      break;
    case 'DiskDetached':
      withProxy(pool, event.data.proxyId, (proxy) => {
        const { runId, diskId } = event.data;
        proxy.attachments.delete(attachmentKey(runId, diskId));
        withRun(pool, runId, (run) => leaveProxy(run, proxy));
      });
      break;
    case 'ProxiesActivated':
      withRun(pool, event.data.runId, (run) => {
        run.announced = true;
      });
      break;
    case 'PortsLeased':
      lease(pool, event.data);
      break;
    case 'PortsReleased':
      release(pool, event.data);
      break;
    case 'RunFailed':
      withRun(pool, event.data.runId, (run) => {
        run.outcome = 'failed';
      });
      break;
    case 'RunEnding':
      withRun(pool, event.data.runId, (run) => {
        run.outcome = event.data.outcome;
      });
      break;
    case 'RunClosed':
      closeRun(pool, event.data.runId);
      break;
  }
}

function closeRun(pool: Pool, runId: string): void {
  const run = pool.runs.get(runId);
  for (const proxyId of [...(run?.chosen?.keys() ?? []), ...(run?.at ?? [])])
    pool.due.users.get(proxyId)?.delete(runId);
  pool.runs.delete(runId);
}

/** Whoever was attached to the server that died has to be let go of before the disks are served again (libs/hypervisor, target-server.ts). */
function attachAgain(pool: Pool, runId: string): void {
  for (const proxyId of pool.runs.get(runId)?.at ?? []) {
    for (const attachment of pool.proxies.get(proxyId)?.attachments.values() ?? [])
      if (attachment.runId === runId) attachment.state = 'requested';
  }
}

function addProxy(pool: Pool, proxy: PooledProxy): void {
  pool.proxies.set(proxy.proxyId, proxy);
  if (proxy.kind === 'proxy') pool.proxyVms.set(proxy.proxyId, proxy);
}

/** When none of its disks is left there. */
function leaveProxy(run: Run, { proxyId, attachments }: PooledProxy): void {
  const { runId, disks } = run.order;
  if (!disks.some(({ diskId }) => attachments.has(attachmentKey(runId, diskId)))) run.at.delete(proxyId);
}

/** A proxy that was asked for and is not up yet. */
export const requestedProxy = (asked: EventData<'ProxyActivationRequested'>): PooledProxy => ({
  proxyId: asked.proxyId,
  kind: 'proxy',
  startedFor: asked.runId,
  portsAsked: asked.ports,
  maxChildJobs: asked.maxChildJobs,
  maxDisks: asked.maxDisks,
  idleSeconds: asked.idleSeconds,
  deadlineSeconds: asked.deadlineSeconds,
  state: 'requested',
  ports: [],
  attachments: new Map(),
  holders: new Map(),
  idleSince: undefined,
  endsBecause: '',
  suspect: false,
  interruptionsInRow: 0,
});

function openDirect(pool: Pool, opened: EventData<'DirectEndpointOpened'>): void {
  const attachments = Object.entries(opened.exports).map(([diskId, exportName]): [string, Attachment] => [
    attachmentKey(opened.runId, diskId),
    { runId: opened.runId, diskId, state: 'attached', exportName },
  ]);
  addProxy(pool, {
    proxyId: opened.proxyId,
    kind: 'direct',
    startedFor: opened.runId,
    portsAsked: opened.ports.length,
    maxChildJobs: opened.ports.length,
    maxDisks: attachments.length,
    idleSeconds: 0,
    deadlineSeconds: 0,
    state: 'active',
    ports: opened.ports,
    attachments: new Map(attachments),
    holders: new Map(),
    idleSince: undefined,
    endsBecause: '',
    suspect: false,
    interruptionsInRow: 0,
  });
}

function lease(pool: Pool, lease: Lease): void {
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
    job.state = 'leased';
    job.attempts = lease.attempt;
    job.lease = lease;
  });
}

function release(pool: Pool, released: EventData<'PortsReleased'>): void {
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
    job.lease = undefined;
    run.leased -= 1;
    job.state = released.because === 'completed' ? 'done' : 'waiting';
    if (job.state === 'done') countJobs(run.unfinished, job.diskId, -1);
    else countJobs(run.waiting, job.diskId, 1);
    if (released.because !== 'interrupted') return;
    job.interruptions += 1;
    job.interruptedOn = released.proxyId;
  });
}

/** What was interrupted because this proxy died is not held against the child job. */
function forgetProxy(pool: Pool, proxyId: string): void {
  for (const runId of pool.due.users.get(proxyId) ?? []) {
    withRun(pool, runId, (run) => {
      if (run.chosen?.delete(proxyId)) run.proxiesLost += 1;
      for (const job of run.jobs.values()) {
        if (job.interruptedOn !== proxyId) continue;
        job.interruptedOn = undefined;
        job.interruptions -= 1;
      }
    });
  }
}

const withRun = (pool: Pool, runId: string, change: (run: Run) => void): void => {
  const run = pool.runs.get(runId);
  if (run !== undefined) change(run);
};
const withProxy = (pool: Pool, proxyId: string, change: (proxy: PooledProxy) => void): void => {
  const proxy = pool.proxies.get(proxyId);
  if (proxy !== undefined) change(proxy);
};
const withJob = (
  pool: Pool,
  runId: string,
  childJobId: string,
  change: (job: Job, run: Run) => void,
): void => {
  const run = pool.runs.get(runId);
  const job = run?.jobs.get(childJobId);
  if (run !== undefined && job !== undefined) change(job, run);
};

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
import {
  type Event,
  type EventData,
  type Port,
  type SnapshotDisk,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import { invariant } from '@backhaul/kernel';

export type HostEvent = Event;

export const hostStream = (hostId: string): StreamName => streamName('host', hostId);

export type Order = EventData<'ActivationRequested'>;
export type Lease = EventData<'PortsLeased'>;

export interface Job {
  readonly childJobId: string;
  readonly diskId: string;
  readonly offset: number;
  readonly length: number;
  state: 'waiting' | 'leased' | 'done';
  attempts: number;
  /** Attempts that ended in an interruption of their own, not in the loss of a proxy. */
  interruptions: number;
  /** The proxy that the last interruption happened on, until something else is known of it. */
  interruptedOn: string | undefined;
  lease: Lease | undefined;
}

export interface Run {
  readonly order: Order;
  snapshot: 'none' | 'requested' | 'taken' | 'lost' | 'released';
  disks: readonly SnapshotDisk[];
  /** Undefined until proxies were chosen; ids of those that are still of use to the run. */
  chosen: Map<string, { readonly shared: boolean; readonly why: string }> | undefined;
  shortfall: string | null;
  proxiesLost: number;
  announced: boolean;
  readonly jobs: Map<string, Job>;
  outcome: 'completed' | 'failed' | 'cancelled' | undefined;
}

export interface Attachment {
  readonly backupId: string;
  readonly diskId: string;
  state: 'requested' | 'attached';
  exportName: string;
}

export interface PooledProxy {
  readonly proxyId: string;
  /** `direct`: the host's own export of one run's snapshot, which is leased like a proxy but is none. */
  readonly kind: 'proxy' | 'direct';
  readonly startedFor: string;
  readonly portsAsked: number;
  readonly maxChildJobs: number;
  readonly maxDisks: number;
  readonly idleSeconds: number;
  readonly deadlineSeconds: number;
  state: 'requested' | 'active' | 'lost';
  ports: readonly Port[];
  readonly attachments: Map<string, Attachment>;
  /** The lease that holds each taken port. */
  readonly holders: Map<number, Lease>;
  idleSince: string | undefined;
  lostBecause: string;
  /** A child job was interrupted on it: it gets no work until the host was asked whether it is up. */
  suspect: boolean;
  /** Child jobs interrupted on it since one last completed. */
  interruptionsInRow: number;
}

export interface Pool {
  readonly hostId: string;
  registered: EventData<'HostRegistered'> | undefined;
  /** The fence of the newest lease. */
  fence: number;
  /** Proxies ever requested: the number in the next one's name. */
  proxiesEver: number;
  readonly runs: Map<string, Run>;
  readonly proxies: Map<string, PooledProxy>;
}

export const emptyPool = (hostId: string): Pool => ({
  hostId,
  registered: undefined,
  fence: 0,
  proxiesEver: 0,
  runs: new Map(),
  proxies: new Map(),
});

export const attachmentKey = (backupId: string, diskId: string): string => `${backupId}.${diskId}`;
export const directProxyId = (backupId: string): string => `direct-${backupId}`;

/** History already happened, so the fold never refuses; an event from a newer release changes nothing. */
export function evolve(pool: Pool, event: HostEvent): Pool {
  switch (event.type) {
    case 'HostRegistered':
      pool.registered = event.data;
      break;
    case 'ActivationRequested':
      pool.runs.set(event.data.backupId, openRun(event.data));
      break;
    case 'SnapshotRequested':
      withRun(pool, event.data.backupId, (run) => {
        run.snapshot = 'requested';
      });
      break;
    case 'SnapshotTaken':
      withRun(pool, event.data.backupId, (run) => {
        run.snapshot = 'taken';
        run.disks = event.data.disks;
      });
      break;
    case 'SnapshotLost':
      withRun(pool, event.data.backupId, (run) => {
        run.snapshot = 'lost';
      });
      pool.proxies.delete(directProxyId(event.data.backupId));
      break;
    case 'SnapshotReleased':
      withRun(pool, event.data.backupId, (run) => {
        run.snapshot = 'released';
      });
      pool.proxies.delete(directProxyId(event.data.backupId));
      break;
    case 'ProxiesChosen':
      withRun(pool, event.data.backupId, (run) => {
        run.chosen = new Map(
          event.data.proxies.map(({ proxyId, shared, why }) => [proxyId, { shared, why }]),
        );
        run.shortfall = event.data.shortfall;
      });
      break;
    case 'ProxyActivationRequested':
      pool.proxiesEver += 1;
      pool.proxies.set(event.data.proxyId, requestedProxy(event.data));
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
        proxy.lostBecause = event.data.reason;
      });
      for (const run of pool.runs.values()) forgetProxy(run, event.data.proxyId);
      break;
    case 'ProxyHealthObserved':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.suspect = false;
      });
      break;
    case 'ProxyDeactivated':
      pool.proxies.delete(event.data.proxyId);
      break;
    case 'ProxyIdle':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.idleSince = event.data.since;
      });
      break;
    case 'DiskAttachRequested':
      withProxy(pool, event.data.proxyId, (proxy) => {
        const { backupId, diskId } = event.data;
        proxy.idleSince = undefined;
        proxy.attachments.set(attachmentKey(backupId, diskId), {
          backupId,
          diskId,
          state: 'requested',
          exportName: '',
        });
      });
      break;
    case 'DiskAttached':
      withProxy(pool, event.data.proxyId, (proxy) => {
        const attachment = proxy.attachments.get(attachmentKey(event.data.backupId, event.data.diskId));
        if (attachment === undefined) return;
        attachment.state = 'attached';
        attachment.exportName = event.data.exportName;
      });
      break;
    case 'DiskDetached':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.attachments.delete(attachmentKey(event.data.backupId, event.data.diskId));
      });
      break;
    case 'ProxiesActivated':
      withRun(pool, event.data.backupId, (run) => {
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
      withRun(pool, event.data.backupId, (run) => {
        run.outcome = 'failed';
      });
      break;
    case 'RunEnding':
      withRun(pool, event.data.backupId, (run) => {
        run.outcome = event.data.outcome;
      });
      break;
    case 'RunClosed':
      pool.runs.delete(event.data.backupId);
      break;
  }
  return pool;
}

const openRun = (order: Order): Run => ({
  order,
  snapshot: 'none',
  disks: [],
  chosen: undefined,
  shortfall: null,
  proxiesLost: 0,
  announced: false,
  outcome: undefined,
  jobs: new Map(
    order.childJobs.map((job) => [
      job.childJobId,
      { ...job, state: 'waiting', attempts: 0, interruptions: 0, interruptedOn: undefined, lease: undefined },
    ]),
  ),
});

/** A proxy that was asked for and is not up yet. */
export const requestedProxy = (asked: EventData<'ProxyActivationRequested'>): PooledProxy => ({
  proxyId: asked.proxyId,
  kind: 'proxy',
  startedFor: asked.backupId,
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
  lostBecause: '',
  suspect: false,
  interruptionsInRow: 0,
});

function openDirect(pool: Pool, opened: EventData<'DirectEndpointOpened'>): void {
  const attachments = Object.entries(opened.exports).map(([diskId, exportName]): [string, Attachment] => [
    attachmentKey(opened.backupId, diskId),
    { backupId: opened.backupId, diskId, state: 'attached', exportName },
  ]);
  pool.proxies.set(opened.proxyId, {
    proxyId: opened.proxyId,
    kind: 'direct',
    startedFor: opened.backupId,
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
    lostBecause: '',
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
  withJob(pool, lease.backupId, lease.childJobId, (job) => {
    invariant(job.lease === undefined, `Child job ${job.childJobId} was given a second lease`);
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
  withJob(pool, released.backupId, released.childJobId, (job) => {
    if (job.lease?.leaseId !== released.leaseId) return;
    job.lease = undefined;
    job.state = released.because === 'completed' ? 'done' : 'waiting';
    if (released.because !== 'interrupted') return;
    job.interruptions += 1;
    job.interruptedOn = released.proxyId;
  });
}

/** What was interrupted because this proxy died is not held against the child job. */
function forgetProxy(run: Run, proxyId: string): void {
  if (run.chosen?.delete(proxyId)) run.proxiesLost += 1;
  for (const job of run.jobs.values()) {
    if (job.interruptedOn !== proxyId) continue;
    job.interruptedOn = undefined;
    job.interruptions -= 1;
  }
}

const withRun = (pool: Pool, backupId: string, change: (run: Run) => void): void => {
  const run = pool.runs.get(backupId);
  if (run !== undefined) change(run);
};
const withProxy = (pool: Pool, proxyId: string, change: (proxy: PooledProxy) => void): void => {
  const proxy = pool.proxies.get(proxyId);
  if (proxy !== undefined) change(proxy);
};
const withJob = (pool: Pool, backupId: string, childJobId: string, change: (job: Job) => void): void => {
  const job = pool.runs.get(backupId)?.jobs.get(childJobId);
  if (job !== undefined) change(job);
};

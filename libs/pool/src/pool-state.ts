/** What is known of a host's pool: open runs, their child jobs, proxies, attachments and who holds which port. */
import {
  type Event,
  type EventData,
  type HealthState,
  type HostPolicy,
  type Mounts,
  noHostPolicy,
  type Port,
  type ProxyCharacteristics,
  type Purpose,
  type SnapshotDisk,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import { noPace, type Pace } from './estimate.ts';
import type { Hold } from './hold.ts';
import type { LastBackup } from './prestart.ts';
import { nothingKnown, type Throughput } from './throughput.ts';

export type HostEvent = Event;

export const hostStream = (hostId: string): StreamName => streamName('host', hostId);

export type Order = EventData<'ActivationRequested'>;
export type BackupOrder = Extract<Order, { purpose: 'backup' }>;
export type RecoveryOrder = Extract<Order, { purpose: 'recovery' }>;
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
  /** Counts the runs of the host: of two with the same turn, who came first is served first. */
  readonly number: number;
  hold: Hold;
  /** The instant that the first snapshot froze: one taken anew must be of the same. */
  takenAt: string | null;
  /** Since a child job was last done. */
  holdsLost: number;
  /** Where its disks lie, as far as the host tells. */
  storages: readonly string[];
  /** What its child jobs have moved through each proxy. */
  readonly moved: Map<string, Moved>;
  /** The frozen disks of a backup. */
  disks: readonly SnapshotDisk[];
  /** The empty disks of a recovery: NBD URI of the host's own view, by disk. */
  targets: ReadonlyMap<string, string>;
  /** Of an instant recovery. */
  readonly fill: Fill;
  /** Undefined until proxies were chosen; ids of those that are still of use to the run. */
  chosen: Map<string, { readonly shared: boolean; readonly why: string }> | undefined;
  shortfall: string | null;
  /** How often proxies were chosen for it since a child job was last done. */
  choicesInRow: number;
  announced: boolean;
  readonly jobs: Map<string, Job>;
  /**
   * Interruptions by child job since the host was last seen to have the disks: they may be the disks' fault, and are not held against the
   * child jobs when it turns out to be so.
   */
  readonly unexplained: Map<string, number>;
  /** Of each disk: child jobs that wait for ports, and those that are not done. */
  readonly waiting: Map<string, number>;
  readonly unfinished: Map<string, number>;
  /** Child jobs that hold ports. */
  leased: number;
  /** Ports of proxies times the time that it held them; undefined where some of it is not known (cost.ts). */
  portMilliseconds: number | undefined;
  /** Proxies that ever held disks of it. */
  readonly servedBy: Set<string>;
  /** Proxies that hold disks of it, or were asked to. */
  readonly at: Set<string>;
  /** Nothing of it begins, and it holds neither ports nor proxies (pause.ts). */
  paused: boolean;
  /** The newest of its pauses and resumptions that was heard of. */
  orders: number;
  /** Of `at`: those that it lets go of because it was paused. Before that is done it is given no others. */
  readonly leaving: Set<string>;
  outcome: 'completed' | 'failed' | 'cancelled' | undefined;
}

export interface Moved {
  readonly bytes: number;
  readonly portSeconds: number;
  readonly childJobs: number;
}

/** How far the disks of a VM are filled that runs from mounts. */
export interface Fill {
  /** Undefined until the restore point is served. */
  mounts: Mounts | undefined;
  /** The host must be asked to start it, to go on, or to end it. */
  due: boolean;
  filledBytes: number;
  /** Since something was last filled. */
  interruptions: number;
}

export interface Attachment {
  readonly runId: string;
  readonly diskId: string;
  state: 'requested' | 'attached';
  exportName: string;
}

export interface PooledProxy {
  readonly proxyId: string;
  /** `direct`: the host's own export of one run's disks, which is leased like a proxy but is none. */
  readonly kind: 'proxy' | 'direct';
  readonly startedFor: string;
  readonly portsAsked: number;
  readonly maxChildJobs: number;
  readonly maxDisks: number;
  readonly idleSeconds: number;
  readonly deadlineSeconds: number;
  state: 'requested' | 'active' | 'retiring' | 'lost';
  ports: readonly Port[];
  characteristics: ProxyCharacteristics | undefined;
  /** As last judged (proxy-health.ts). */
  health: { readonly state: HealthState; readonly detail: string };
  readonly attachments: Map<string, Attachment>;
  /** The lease that holds each taken port. */
  readonly holders: Map<number, Lease>;
  idleSince: string | undefined;
  /** Why it is lost or retiring. */
  endsBecause: string;
  /** A child job was interrupted on it: it gets no work until the host was asked whether it is up. */
  suspect: boolean;
  /** Child jobs interrupted on it since one last completed. */
  interruptionsInRow: number;
  /** Why it is given to no run any more (recycling.ts). */
  draining: string | undefined;
  /** Backups that schedules are about to ask for, and the disks that it is to hold of each (prestart.ts). */
  readonly keptFor: Map<string, { readonly dueAt: string; readonly disks: number }>;
  /** When the host was asked for it: from then on it is paid for. */
  readonly requestedAt: string | undefined;
  /** Of what has been released; undefined where some of it is not known (cost.ts). */
  portMilliseconds: number | undefined;
  /** Runs whose disks it ever held. */
  runs: number;
}

/** What was said of a run before its plan arrived: news of different services come in any order. */
export interface EarlyWord {
  readonly paused: boolean;
  readonly orders: number;
  /** It is over before it began, and must never begin. */
  readonly ended: boolean;
}

export interface Pool {
  readonly hostId: string;
  registered: EventData<'HostRegistered'> | undefined;
  /** What the host may carry, and which of its definitions this is; 0 before the first. */
  policy: HostPolicy;
  policyRevision: number;
  /** The fence of the newest lease. */
  fence: number;
  /** Proxies ever requested: the number in the next one's name. */
  proxiesEver: number;
  runsEver: number;
  readonly runs: Map<string, Run>;
  /** By run. Of runs that are not open. */
  readonly early: Map<string, EarlyWord>;
  /** Those of kind `direct`, too. */
  readonly proxies: Map<string, PooledProxy>;
  /** Those of kind `proxy` alone: few, however many runs are open. */
  readonly proxyVms: Map<string, PooledProxy>;
  readonly throughput: Readonly<Record<Purpose, Throughput>>;
  /** Why the last few proxies ended. */
  readonly gone: Map<string, string>;
  /** What child jobs took lately. */
  pace: Pace;
  /** Ports that the runs of each VM hold. */
  readonly portsOfVm: Map<string, number>;
  /** The build of the appliance that the host boots from now, where it tells. */
  appliance: string | undefined;
  /** By VM, the one that had its last backup longest ago first. */
  readonly lastBackups: Map<string, LastBackup>;
  readonly due: Due;
}

/** A place in a line (line.ts). */
export interface Place {
  readonly held: number;
  readonly weight: number;
  readonly turn: number;
  readonly number: number;
  readonly runId: string;
}

/**
 * What is to be looked at, kept by the fold (due.ts) so that a look costs what is due and not what is open. Ids alone: all that
 * is said of a run stands in the run.
 */
export interface Due {
  /** Runs whose next step is a decision that needs nothing but the run and its proxies. */
  readonly deciding: Set<string>;
  /** Runs with something to do at the host, by what they are at. */
  readonly acting: Readonly<Record<Stage, Place[]>>;
  /** Runs that wait for leave to take their hold on disks. */
  readonly beginning: Place[];
  /** Runs that have a snapshot or a target open, or have asked for one; but no instant recovery, which holds none. */
  readonly holding: Set<string>;
  /** Runs that have begun, until they are closed. */
  readonly working: Set<string>;
  readonly runsOfVm: Map<string, Set<string>>;
  /** Runs with a disk that no proxy of theirs holds. */
  readonly lacking: Set<string>;
  /** Runs that wait for proxies, by what they need of them. */
  readonly choosing: Map<string, Place[]>;
  /** By proxy and by what a lease needs there: runs that could be given ports. */
  readonly serving: Map<string, Map<string, Place[]>>;
  /** Proxies in `serving` with a port free. */
  readonly free: Set<string>;
  /** Proxy VMs that are not simply at work. */
  readonly tending: Set<string>;
  readonly suspects: Set<string>;
  /** Runs that have to do with a proxy. */
  readonly users: Map<string, Set<string>>;
  /** Where each run stands in lines. */
  readonly places: Map<string, { readonly place: Place; readonly line: LineName }[]>;
}

export type LineName =
  | { readonly kind: 'beginning' }
  | { readonly kind: 'acting'; readonly stage: Stage }
  | { readonly kind: 'choosing'; readonly need: string }
  | { readonly kind: 'serving'; readonly proxyId: string; readonly need: string };

export type Stage = 'ending' | 'pausing' | 'connecting' | 'beginning';

export const emptyPool = (hostId: string): Pool => ({
  hostId,
  registered: undefined,
  policy: noHostPolicy,
  policyRevision: 0,
  fence: 0,
  proxiesEver: 0,
  runsEver: 0,
  runs: new Map(),
  early: new Map(),
  proxies: new Map(),
  proxyVms: new Map(),
  throughput: nothingKnown(),
  gone: new Map(),
  pace: noPace,
  portsOfVm: new Map(),
  appliance: undefined,
  lastBackups: new Map(),
  due: {
    deciding: new Set(),
    acting: { ending: [], pausing: [], connecting: [], beginning: [] },
    beginning: [],
    holding: new Set(),
    working: new Set(),
    runsOfVm: new Map(),
    lacking: new Set(),
    choosing: new Map(),
    serving: new Map(),
    free: new Set(),
    tending: new Set(),
    suspects: new Set(),
    users: new Map(),
    places: new Map(),
  },
});

/** A proxy may read the disks of a backup, and write those of a recovery. */
export const accessOf = ({ order }: Run): 'read-only' | 'writable' =>
  order.purpose === 'backup' ? 'read-only' : 'writable';

/** Its VM runs before its disks are filled, which the host does by itself: there are no data streams. */
export const isInstant = ({ order }: Run): boolean =>
  order.purpose === 'recovery' && order.instant !== undefined;

/** Where its disks lie; null where the host does not tell. */
export const storageOf = ({ storages }: Run): string | null =>
  storages.length === 0 ? null : storages.toSorted().join(' + ');

export const attachmentKey = (runId: string, diskId: string): string => `${runId}.${diskId}`;
export const directProxyId = (runId: string): string => `direct-${runId}`;

/** The proxies a run reads through: those chosen for it that are up, or the host's own endpoint. */
export function proxiesOf(pool: Pool, run: Run): PooledProxy[] {
  const ids =
    run.order.mode === 'direct-to-host' ? [directProxyId(run.order.runId)] : [...(run.chosen?.keys() ?? [])];
  return ids
    .map((id) => pool.proxies.get(id))
    .filter((proxy): proxy is PooledProxy => proxy?.state === 'active');
}

/** Ports asked of a child job by this run on this proxy: in direct-to-host mode a job has one stream. */
export const portsNeeded = (run: Run, proxy: PooledProxy): number =>
  proxy.kind === 'direct' ? 1 : run.order.portsPerChildJob;

/** A shared proxy keeps its own limit, and a run with a tighter policy keeps that. */
export const jobsAtOnce = (run: Run, proxy: PooledProxy): number =>
  proxy.kind === 'direct' ? proxy.ports.length : Math.min(proxy.maxChildJobs, run.order.maxChildJobsPerProxy);

/** The inverse of a lease: what it held, and why it holds it no more. */
export const releaseOf = (
  { hostId, runId, childJobId, leaseId, proxyId, ports }: Lease,
  because: EventData<'PortsReleased'>['because'],
  moved?: EventData<'PortsReleased'>['moved'],
): HostEvent => ({
  type: 'PortsReleased',
  data: {
    ...{ hostId, runId, childJobId, leaseId, proxyId, ports: ports.map(({ port }) => port), because },
    ...(moved === undefined ? {} : { moved }),
  },
});

/** The host cannot carry the run further. */
export const failureOf = (
  { hostId, runId, vmId, purpose }: Order,
  refusal: EventData<'RunFailed'>['refusal'],
): HostEvent => ({ type: 'RunFailed', data: { hostId, runId, vmId, purpose, refusal } });

/** What is known of a host's pool: open runs, their child jobs, proxies, attachments and who holds which port. */
import {
  type Event,
  type EventData,
  type Port,
  type SnapshotDisk,
  type StreamName,
  streamName,
} from '@backhaul/contracts';

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
  /** The instant that the first snapshot froze: one taken anew must be of the same. */
  takenAt: string | null;
  snapshotsLost: number;
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
  state: 'requested' | 'active' | 'retiring' | 'lost';
  ports: readonly Port[];
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

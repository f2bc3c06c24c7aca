/**
 * What Backhaul asks of a host, whatever kind it is. Every kind passes the one contract suite (`host-contract.ts`).
 * - Everything is idempotent by the ids given: asking again after a crash finds what was made, and makes no second one.
 * - What was made outlives the process that asked for it, and is found again through `observe`.
 * - A Refusal is an answer about the world as it is (no such VM, image corrupt, image in use); a thrown Fault is a failure
 *   of doing, and says whether a retry can help. No call waits for ever.
 */
import type {
  BackupKind,
  Consistency,
  ImageIdentity,
  Inspection,
  Port,
  RestorePoint,
  SnapshotDisk,
} from '@backhaul/contracts';
import type { Result } from '@backhaul/kernel';

export interface SnapshotOrder {
  /** The backup's id: names the snapshot and, where there is change tracking, the checkpoint it starts. */
  readonly snapshotId: string;
  readonly vmId: string;
  readonly disks: readonly {
    readonly diskId: string;
    /** What the plan wants. An incremental whose checkpoint no longer holds comes back as a full with its reason. */
    readonly kind: BackupKind;
    readonly parentCheckpoint: string | null;
    readonly parentIdentity: ImageIdentity | null;
  }[];
}

export interface Snapshot {
  readonly takenAt: string;
  /** How long the guest stood still. */
  readonly pauseMilliseconds: number;
  /** Absent where there is no guest that could be asked to come to rest. */
  readonly consistency?: Consistency;
  readonly disks: readonly SnapshotDisk[];
}

export interface Observation {
  readonly proxies: readonly {
    readonly proxyId: string;
    readonly alive: boolean;
    /** Why not alive, as far as it can be told. */
    readonly detail: string;
    readonly attachments: readonly { readonly snapshotId: string; readonly diskId: string }[];
  }[];
  readonly snapshots: readonly {
    readonly snapshotId: string;
    readonly vmId: string;
    readonly alive: boolean;
    readonly detail: string;
  }[];
}

export interface HypervisorHost {
  readonly hostId: string;
  readonly kind: string;
  /** Where it is, for people. */
  readonly address: string;

  listVms(): Promise<string[]>;

  /** Looks without touching: disks, allocation, what change tracking is worth against `parent`. */
  inspect(vmId: string, parent: RestorePoint | null): Promise<Result<Inspection>>;

  /**
   * Freezes all disks of a VM at one instant, serves them read-only on the host's own NBD export, and starts the next
   * checkpoint where the format can. The old checkpoint stays until `releaseSnapshot` commits.
   */
  takeSnapshot(order: SnapshotOrder): Promise<Result<Snapshot>>;

  /**
   * Lets the VM go on alone. `committed`: the new checkpoint replaces the old one; `discarded`: the old one goes on as if
   * the snapshot had never been. Nothing of the snapshot is left; no such snapshot is success.
   */
  releaseSnapshot(snapshotId: string, vmId: string, checkpoints: 'committed' | 'discarded'): Promise<void>;

  /** Starts a proxy with this many ports, ready to be attached to and read from when it resolves. */
  activateProxy(order: {
    proxyId: string;
    ports: number;
    deadlineSeconds: number;
  }): Promise<{ ports: Port[] }>;

  /** Hot-adds a frozen disk read-only to a proxy; the export is then served at every port of it. */
  attachDisk(order: { proxyId: string; snapshotId: string; diskId: string }): Promise<{ exportName: string }>;
  detachDisk(order: { proxyId: string; snapshotId: string; diskId: string }): Promise<void>;

  /** Ends a proxy and all it had attached. No such proxy is success. */
  deactivateProxy(proxyId: string): Promise<void>;

  /** Ports of the host's own export of a snapshot, for direct-to-host mode: one per stream, disks by the same export names. */
  openDirectEndpoint(
    snapshotId: string,
    streams: number,
  ): Promise<{ ports: Port[]; exportNameOf: Record<string, string> }>;

  /** What is really there, by looking: never from memory. */
  observe(): Promise<Observation>;

  /** Lets go of this process' own resources; proxies and snapshots stay. */
  close(): Promise<void>;
}

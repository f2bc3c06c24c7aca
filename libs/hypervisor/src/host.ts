/**
 * What Backhaul asks of a host, whatever kind it is. Every kind passes the one contract suite (`host-contract.ts`).
 * - Everything is idempotent by the ids given: asking again after a crash finds what was made, and makes no second one.
 * - What was made outlives the process that asked for it, and is found again through `observe`.
 * - A Refusal is an answer about the world as it is (no such VM, image corrupt, image in use); a thrown Fault is a failure
 *   of doing, and says whether a retry can help. No call waits for ever.
 */
import type {
  Acceleration,
  BackupKind,
  Consistency,
  ImageIdentity,
  Inspection,
  Machine,
  Mounts,
  Observation,
  Port,
  ProxyCharacteristics,
  RestorePoint,
  SnapshotDisk,
} from '@backhaul/contracts';
import type { Result } from '@backhaul/kernel';

export type { Observation } from '@backhaul/contracts';

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

export interface Kept {
  readonly started: boolean;
  /** It should run, and why it does not. */
  readonly notStarted: string | null;
  /** Of a VM that runs, where the host can say. */
  readonly acceleration?: Acceleration;
}

export interface TargetOrder {
  /** The recovery's id: names the target. */
  readonly targetId: string;
  /** The VM that is to be. */
  readonly vmId: string;
  readonly disks: readonly {
    readonly diskId: string;
    readonly sizeBytes: number;
    /** How much of it will be written: the host refuses what it has no room for. */
    readonly bytesToWrite: number;
  }[];
  /** Over a VM of that name, and only when it is off. Until the new one is whole the old one is not touched. */
  readonly replace: boolean;
  readonly machine: Machine;
  /**
   * The disks were made before, and hold what nobody will write again: they are served as they are. Where they are gone it is a refusal
   * with the code `TargetLost`; empty ones in their place would pass for whole.
   */
  readonly again?: boolean;
  /** Of an instant recovery: where each disk of the restore point is served. What nobody has written yet reads as it does there. */
  readonly mounts?: Mounts;
}

export interface TargetInspection {
  readonly modes: Inspection['modes'];
  /** Whether a VM can start here before its disks are filled. */
  readonly instant: { readonly available: boolean; readonly reason?: string };
  /** Room where the disks will be; null where nobody can say. */
  readonly freeBytes: number | null;
}

export interface Target {
  /** NBD URI, with export, of the host's own writable view of each disk; where there are mounts, of the mount. */
  readonly disks: readonly {
    readonly diskId: string;
    readonly sizeBytes: number;
    readonly endpoint: string;
    /** Where its bytes lie, as far as the host can tell. */
    readonly storage?: string;
  }[];
}

/** How much of the disks of a running VM is its own, the rest being read from mounts. */
export interface Filling {
  readonly filledBytes: number;
  readonly totalBytes: number;
  readonly filled: boolean;
}

/** For a look that may take long. */
export interface Looking {
  /** Ends it soon, where the kind of host can. */
  readonly signal?: AbortSignal;
  /** Told what it is doing, about once a minute. */
  readonly onProgress?: (doing: string) => void;
}

export interface HypervisorHost {
  readonly hostId: string;
  readonly kind: string;
  /** Where it is, for people. */
  readonly address: string;

  listVms(): Promise<string[]>;

  /** Looks without touching: disks, allocation, what change tracking is worth against `parent`. */
  inspect(vmId: string, parent: RestorePoint | null, looking?: Looking): Promise<Result<Inspection>>;

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

  /**
   * Starts a proxy with this many ports, ready to be attached to and read from when it resolves. `characteristics`: what it is, where the
   * kind of host knows.
   */
  activateProxy(order: {
    proxyId: string;
    ports: number;
    deadlineSeconds: number;
  }): Promise<{ ports: Port[]; characteristics?: ProxyCharacteristics }>;

  /**
   * Hot-adds a disk to a proxy: of a snapshot, frozen and `read-only`, or of a target, `writable`. `ownerId` is the id of the snapshot or
   * target. The export is then served at every port of the proxy. A Fault with the code `SnapshotUnknown` or `TargetUnknown` when there
   * is none of that id.
   */
  attachDisk(order: {
    proxyId: string;
    ownerId: string;
    diskId: string;
    access: 'read-only' | 'writable';
  }): Promise<{ exportName: string }>;
  /** When it resolves nobody can write through the proxy any more, and what was flushed is on the disk. */
  detachDisk(order: { proxyId: string; ownerId: string; diskId: string }): Promise<void>;

  /** Ends a proxy and all it had attached. No such proxy is success. */
  deactivateProxy(proxyId: string): Promise<void>;

  /** Ports of the host's own export of a snapshot or of a target (writable), for direct-to-host mode: one per stream, disks by the same export names. */
  openDirectEndpoint(
    ownerId: string,
    streams: number,
  ): Promise<{ ports: Port[]; exportNameOf: Record<string, string> }>;

  /** Looks without touching: could this VM be made here? Refused with `VmExists`, `VmRunning`, `NoSpace`, `UnsupportedDisk` and the like. */
  inspectTarget(order: TargetOrder): Promise<Result<TargetInspection>>;

  /**
   * Makes empty disks where no VM sees them, on the file system where they will stay, and serves them writable. Asked again after their
   * server died, it serves the same disks again with what was flushed to them. Refused as `inspectTarget`.
   */
  createTarget(order: TargetOrder): Promise<Result<Target>>;

  /**
   * Ends the serving, and makes the disks a VM of that name in one step that cannot be half done: before it there is no such VM (or the
   * old one), after it the whole new one. `start`: and has it run, where the host can; where it cannot, or the start fails, the VM is
   * kept all the same and `notStarted` says why it does not run. Asked again it is success.
   * With mounts the VM is started in any case, and is not whole before `fillTarget` says so. Refused with `VmNotStarted`, and nothing is
   * left of it, when it cannot be started.
   */
  keepTarget(order: { targetId: string; vmId: string; start: boolean }): Promise<Result<Kept>>;

  /**
   * Has the disks of a VM with mounts filled behind the running guest, and says how far that is, at once: asked again, it starts a VM that
   * has ended, and goes on. When all is copied it lets go of the mounts, without a stop of the guest. A Fault with the code
   * `TargetUnknown` when the VM is gone, and `InstantUnavailable` where there is none of this.
   */
  fillTarget(order: { targetId: string; vmId: string; bytesPerSecond: number | null }): Promise<Filling>;

  /**
   * Forgets that a VM was being filled, once it has ended or its guest has powered itself off, and leaves all that there is of it. A Fault
   * with the code `VmRunning` before.
   */
  leaveTarget(targetId: string, vmId: string): Promise<void>;

  /** Nothing of the target is left; no such target is success. A VM that was kept, and is whole, is not touched. */
  discardTarget(targetId: string, vmId: string): Promise<void>;

  /** What is really there, by looking: never from memory. */
  observe(): Promise<Observation>;

  /** Lets go of this process' own resources; proxies and snapshots stay. */
  close(): Promise<void>;
}

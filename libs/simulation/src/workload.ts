/** What one host is asked for, and what it can do: all that its simulation needs. Where it comes from, a description or a recorded log, it does not say. */
import type { BackupKind, HostPolicy, Inspection, Policy, TransportMode } from '@backhaul/contracts';

/** How long the host takes, and how much it moves; speeds in bytes per second. */
export interface HostAbilities {
  readonly inspectSeconds: number;
  readonly snapshotSeconds: number;
  readonly releaseSeconds: number;
  readonly proxyBootSeconds: number;
  readonly proxyStopSeconds: number;
  readonly attachSeconds: number;
  readonly detachSeconds: number;
  readonly directOpenSeconds: number;
  readonly childJobSeconds: number;
  readonly manifestSeconds: number;
  readonly variation: number;
  readonly portBytesPerSecond: number;
  readonly proxyBytesPerSecond: number;
  readonly directBytesPerSecond: number;
  readonly bytesPerSecond: number;
  readonly actionsAtOnce: number;
}

/** The restore point that a backup builds on. */
export interface Since {
  readonly backupId: string;
  /** In milliseconds since the epoch, as every instant here. */
  readonly takenAt: number;
}

/** A request for a backup, as the trigger would take it. */
export interface BackupRequest {
  readonly at: number;
  readonly vmId: string;
  /** A schedule that comes due while its last backup waits for its turn asks for nothing new. */
  readonly scheduleId: string | undefined;
  readonly kind: 'auto' | BackupKind;
  readonly mode: 'auto' | TransportMode;
  readonly policy: Policy;
  /** Of the request's own, or the policy's. */
  readonly priority: Policy['backupPriority'];
  /** The backup is to be there by then. */
  readonly completeBy: number | undefined;
  /** What the host will say of the VM. */
  inspect(since: Since | undefined, now: number): Inspection;
}

export interface Workload {
  readonly hostId: string;
  readonly abilities: HostAbilities;
  /** What it may carry, whatever its runs ask for. */
  readonly hostPolicy: HostPolicy;
  /** By VM: what stands from before. */
  readonly restorePoints: ReadonlyMap<string, Since>;
  /** In the order of their instants. */
  readonly requests: readonly BackupRequest[];
}

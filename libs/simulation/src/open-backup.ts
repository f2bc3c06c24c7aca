/** A backup that is under way in a simulation: what its events need that the pool does not keep. */
import type { EventData, Plan } from '@backhaul/contracts';
import type { BackupRequest } from './workload.ts';

export interface OpenBackup {
  readonly runId: string;
  readonly request: BackupRequest;
  /** When it was given the VM's turn. */
  readonly startedAt: number;
  plan: Plan | undefined;
  /** By child job, what it has still to read. */
  readonly bytesLeft: Map<string, number>;
  bytesRead: number;
  firstPortAt: number | undefined;
  takenAt: number | undefined;
  completedAt: number | undefined;
  failure: string | undefined;
}

export const openBackup = (runId: string, request: BackupRequest, startedAt: number): OpenBackup => ({
  ...{ runId, request, startedAt, plan: undefined, bytesLeft: new Map(), bytesRead: 0 },
  ...{ firstPortAt: undefined, takenAt: undefined, completedAt: undefined, failure: undefined },
});

/** How a request ended, for whoever counts. */
export interface BackupResult {
  readonly vmId: string;
  readonly hostId: string;
  readonly at: number;
  readonly completeBy: number | undefined;
  /** `skipped`: an earlier one of its schedule still waited. `unfinished`: open when the simulation ended. */
  readonly outcome: 'completed' | 'failed' | 'refused' | 'skipped' | 'unfinished';
  readonly reason: string | undefined;
  /** Undefined as far as it did not come to it. */
  readonly startedAt: number | undefined;
  readonly firstPortAt: number | undefined;
  readonly completedAt: number | undefined;
  readonly mode: Plan['mode'] | undefined;
  readonly kind: Plan['kind'] | undefined;
  readonly bytesPlanned: number;
  readonly bytesRead: number;
}

export const notStarted = (
  hostId: string,
  { vmId, at, completeBy }: BackupRequest,
  outcome: BackupResult['outcome'],
  reason?: string,
): BackupResult => ({
  ...{ vmId, hostId, at, completeBy, outcome, reason, startedAt: undefined, firstPortAt: undefined },
  ...{ completedAt: undefined, mode: undefined, kind: undefined, bytesPlanned: 0, bytesRead: 0 },
});

export const resultOf = (
  hostId: string,
  backup: OpenBackup,
  outcome: BackupResult['outcome'],
): BackupResult => ({
  ...notStarted(hostId, backup.request, outcome, backup.failure),
  startedAt: backup.startedAt,
  firstPortAt: backup.firstPortAt,
  completedAt: backup.completedAt,
  mode: backup.plan?.mode,
  kind: backup.plan?.kind,
  bytesPlanned: backup.plan?.arithmetic.totalBytes ?? 0,
  bytesRead: backup.bytesRead,
});

/** What ingest says when a child job has read all of its portion. */
export function jobCompleted(
  lease: EventData<'PortsLeased'>,
  bytes: number,
  milliseconds: number,
  now: number,
): EventData<'ChildJobCompleted'> {
  const { hostId, vmId, runId: backupId, childJobId, diskId, leaseId, fence, attempt, proxyId } = lease;
  return {
    ...{ backupId, hostId, vmId, childJobId, diskId, leaseId, fence, attempt, proxyId },
    ...{ readBytes: bytes, resumedBytes: 0, chunks: 0, storedBytes: bytes, zeroBytes: 0, milliseconds },
    completedAt: new Date(now).toISOString(),
  };
}

/** What ingest says when the restore point is there. */
export function backupCompleted(
  plan: Plan,
  bytes: number,
  takenAt: number,
  now: number,
): EventData<'BackupCompleted'> {
  const { backupId, hostId, vmId, kind, mode, disks } = plan;
  const diskBytes = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
  return {
    ...{ backupId, hostId, vmId, kind, mode },
    totals: { diskBytes, readBytes: bytes, storedBytes: bytes, zeroBytes: 0, chunks: 0, newChunks: 0 },
    restorePoint: restorePointOf(backupId, takenAt),
    completedAt: new Date(now).toISOString(),
  };
}

export const restorePointOf = (backupId: string, takenAt: number) => ({
  backupId,
  manifestDigest: '0'.repeat(64),
  takenAt: new Date(takenAt).toISOString(),
  disks: [],
});

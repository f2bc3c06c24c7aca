/**
 * What a request for a recovery asks, and when two of them ask the same.
 * The promise kept here: what is asked can be had of the restore point that is there. Whether it can be had at the host is the
 * business of the planner and the host, which look.
 */
import type { DiskId, InstantRecovery, RecoveryRequested } from '@backhaul/contracts';
import { listed, ok, type Result, refuse } from '@backhaul/kernel';
import { asNamed } from './backup.ts';
import type { Recoverable } from './recoverable.ts';
import type { AskedFor, Ground } from './run.ts';

/** Who sent it and by which way is no part of it: a retry may take another way. The order of the disks says nothing. */
export const contentOfRecovery = (
  request: Omit<RecoveryRequested, 'requestId'>,
  disks: readonly DiskId[] | undefined,
): string => {
  const { backup, host, vm, mode, policy, priority, replace, verify, machine } = request;
  const { memoryMiB, cpus } = machine;
  const chosen = disks === undefined ? null : [...new Set(disks)].sort();
  return JSON.stringify({
    ...{ backup, host, vm, disks: chosen, mode, policy, replace, verify },
    ...{ start: request.start || request.instant, instant: instantOf(request) },
    machine: { memoryMiB, cpus },
    priority,
  });
};

/** Naming every disk is the same as naming none. */
export function repeatsRecovery(asked: AskedFor<'recovery'>, request: RecoveryRequested): boolean {
  const { backupId: backup, hostId: host, vmId: vm, policy } = asked;
  const { fillBytesPerSecond } = asked.instant ?? {};
  const instant = {
    instant: asked.instant !== undefined,
    ...(fillBytesPerSecond == null ? {} : { fillBytesPerSecond }),
  };
  const priority = asNamed(asked.priority, request);
  const known = { ...asked, ...instant, backup, host, vm, policy: policy.policyId, priority };
  const all = disksOf(asked.restorePoint);
  return contentOfRecovery(known, asked.disks) === contentOfRecovery(request, request.disks ?? all);
}

/** Null: the VM is whole before it starts. */
const instantOf = ({
  instant,
  fillBytesPerSecond,
}: Pick<RecoveryRequested, 'instant' | 'fillBytesPerSecond'>): InstantRecovery | null =>
  instant ? { fillBytesPerSecond: fillBytesPerSecond ?? null } : null;

export function askForRecovery(
  request: RecoveryRequested,
  recoverable: Result<Recoverable>,
  { runId: recoveryId, policy, origin, requestedAt }: Ground,
): Result<AskedFor<'recovery'>> {
  if (!recoverable.ok) return recoverable;
  const { source, restorePoint } = recoverable.value;
  const { backup: backupId, host: hostId, vm: vmId, mode, replace, verify, machine } = request;
  const instant = instantOf(request);
  const there = disksOf(restorePoint);
  const unknown = request.disks?.filter((diskId) => !there.includes(diskId)) ?? [];
  if (unknown.length > 0) {
    return refuse({
      code: 'UnknownDisk',
      message: `Backup ${backupId} has no disk ${listed(unknown)}: it has ${listed(there)}.`,
      wayOut: 'Name disks that it has, or leave them out for all of them.',
    });
  }
  return ok({
    purpose: 'recovery',
    ...{ recoveryId, backupId, source, restorePoint, hostId, vmId },
    disks: there.filter((diskId) => request.disks?.includes(diskId) ?? true),
    ...{ mode, policy, replace, verify, machine, origin, requestedAt },
    priority: request.priority ?? policy.recoveryPriority,
    start: request.start || request.instant,
    ...(instant === null ? {} : { instant }),
  });
}

const disksOf = ({ disks }: Recoverable['restorePoint']): DiskId[] => disks.map(({ diskId }) => diskId);

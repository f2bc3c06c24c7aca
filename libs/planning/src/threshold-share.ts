/**
 * How much there is to move, held against what is worth starting proxy VMs for. A full and an incremental have
 * thresholds of their own, and a backup may hold disks of both kinds, so what counts is the share of its threshold that
 * each kind fills: from 1 on, together, the backup is above.
 */
import type { BackupKind, Policy } from '@backhaul/contracts';
import type { DiskToRead } from './disk-kind.ts';

export const thresholdOf = (kind: BackupKind, policy: Policy): number =>
  kind === 'full' ? policy.fullThresholdBytes : policy.incrementalThresholdBytes;

/** Summed per kind before it is divided: ten disks of a tenth of the threshold each make exactly 1. */
export function thresholdShare(disks: readonly DiskToRead[], policy: Policy): number {
  let share = 0;
  for (const kind of ['full', 'incremental'] as const) {
    const ofKind = disks.filter((disk) => disk.kind === kind);
    if (ofKind.length === 0) continue;
    const threshold = thresholdOf(kind, policy);
    // A threshold of 0 means "always through proxy VMs", also when there is nothing to move.
    share += threshold === 0 ? 1 : bytesToRead(ofKind) / threshold;
  }
  return share;
}

export const bytesToRead = (disks: readonly DiskToRead[]): number =>
  disks.reduce((sum, disk) => sum + disk.bytesToRead, 0);

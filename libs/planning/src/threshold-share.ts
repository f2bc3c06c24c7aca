/**
 * How much there is to move, held against what is worth starting proxy VMs for. A full and an incremental have
 * thresholds of their own, and a backup may hold disks of both kinds, so what counts is the share of its threshold that
 * each kind fills: from 1 on, together, the backup is above. A recovery has one threshold for all that it writes.
 */
import type { BackupKind, Policy } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';
import type { DiskToRead } from './disk-kind.ts';

export interface Amount {
  /** From 1 on it is at or above the threshold. */
  readonly share: number;
  /** The bytes, the threshold, and which is more. */
  readonly description: string;
}

interface Part {
  readonly what: string;
  readonly bytes: number;
  readonly threshold: number;
}

/** Summed per kind before it is divided: ten disks of a tenth of the threshold each make exactly 1. */
export function amountToRead(disks: readonly DiskToRead[], policy: Policy): Amount {
  const parts = (['full', 'incremental'] as const).flatMap((kind): Part[] => {
    const ofKind = disks.filter((disk) => disk.kind === kind);
    if (ofKind.length === 0) return [];
    return [{ what: kind, bytes: bytesToRead(ofKind), threshold: thresholdOf(kind, policy) }];
  });
  return amountOf(parts);
}

export const amountToWrite = (bytes: number, policy: Policy): Amount =>
  amountOf([{ what: 'to write', bytes, threshold: policy.recoveryThresholdBytes }]);

export const bytesToRead = (disks: readonly DiskToRead[]): number =>
  disks.reduce((sum, disk) => sum + disk.bytesToRead, 0);

const thresholdOf = (kind: BackupKind, policy: Policy): number =>
  kind === 'full' ? policy.fullThresholdBytes : policy.incrementalThresholdBytes;

function amountOf(parts: readonly Part[]): Amount {
  let share = 0;
  // A threshold of 0 means "always through proxy VMs", also when there is nothing to move.
  for (const { bytes, threshold } of parts) share += threshold === 0 ? 1 : bytes / threshold;
  const amounts = parts.map(
    ({ what, bytes, threshold }) =>
      `${formatBytes(bytes)} ${what} against a threshold of ${formatBytes(threshold)}`,
  );
  const place = share >= 1 ? 'at or above' : 'below';
  return { share, description: `${amounts.join(' and ')}: ${place} it, at ${percent(share)}` };
}

/** Rounded away from the threshold's side, so that 99.99 % never reads as 100 %. */
const percent = (share: number): string =>
  `${(share >= 1 ? Math.ceil(share * 1000) : Math.floor(share * 1000)) / 10} %`;

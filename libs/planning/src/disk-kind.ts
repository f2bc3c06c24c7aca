/**
 * What is moved of each disk: all its data, or what changed since the parent. Decided disk by disk, so that one bad
 * checkpoint costs a full of one disk and not of the VM. A full nobody asked for always says what forced it.
 */
import type { BackupKind, Density, InspectedDisk } from '@backhaul/contracts';
import { bytesIn } from './density.ts';

export interface DiskToRead {
  readonly diskId: string;
  readonly sizeBytes: number;
  readonly kind: BackupKind;
  readonly kindReason: string;
  /** Where the bytes to read lie; its sum is `bytesToRead`. */
  readonly density: Density;
  readonly bytesToRead: number;
}

export function chooseDiskKind(disk: InspectedDisk, requested: 'auto' | BackupKind): DiskToRead {
  const { diskId, sizeBytes, tracking } = disk;
  const full = (kindReason: string): DiskToRead => ({
    diskId,
    sizeBytes,
    kind: 'full',
    kindReason,
    density: disk.allocated,
    bytesToRead: bytesIn(disk.allocated),
  });
  if (requested === 'full') return full('a full backup was requested');
  if (tracking.state === 'unusable') return full(`${tracking.code}: ${tracking.reason}`);
  return {
    diskId,
    sizeBytes,
    kind: 'incremental',
    kindReason: `changes are tracked since checkpoint ${tracking.checkpoint}`,
    density: tracking.changed,
    bytesToRead: bytesIn(tracking.changed),
  };
}

/** A backup is incremental when any of its disks is: it cannot be told apart from its parent otherwise. */
export const backupKind = (disks: readonly DiskToRead[]): BackupKind =>
  disks.some((disk) => disk.kind === 'incremental') ? 'incremental' : 'full';

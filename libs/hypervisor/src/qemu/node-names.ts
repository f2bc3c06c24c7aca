/**
 * What a snapshot adds to a running QEMU, by name. Names are derived from snapshot and disk, so that whoever comes later, with
 * or without notes, finds what is there by looking. Node names have at most 31 characters; ids of exports may be longer.
 */
import { derivedId } from '@backhaul/kernel';
import { CHECKPOINT_PREFIX } from '../directory/change-tracking.ts';

export interface DiskKey {
  readonly snapshotId: string;
  readonly diskId: string;
}

const NODE_PREFIX = 'bh-';
const EXPORT_PREFIX = 'backhaul.';

export interface SnapshotNodes {
  /** The copy-before-write filter, right below the guest's device. */
  readonly filter: string;
  /** Where the filter keeps what the guest overwrites. */
  readonly scratch: string;
  /** Between filter and image, where QEMU needs it: zeroes are written as data. */
  readonly plain: string;
  /** Beside the filter: as long as it is there the disk keeps its size. */
  readonly guard: string;
  /** The frozen disk. */
  readonly access: string;
  /** The frozen disk in pieces, where QEMU needs it. */
  readonly pieces: string;
  /** The frozen disk in pieces, under its usual alignment. */
  readonly whole: string;
}

export function nodesOf({ snapshotId, diskId }: DiskKey): SnapshotNodes {
  const key = derivedId('node', snapshotId, diskId).replaceAll('-', '').slice(0, 24);
  const name = (role: string) => `${NODE_PREFIX}${role}-${key}`;
  return {
    filter: name('c'),
    scratch: name('t'),
    plain: name('p'),
    guard: name('g'),
    access: name('a'),
    pieces: name('s'),
    whole: name('w'),
  };
}

export const isOwnNode = (name: string): boolean => name.startsWith(NODE_PREFIX);

/** How the frozen disk is asked for over NBD. */
export const exportNameOf = ({ snapshotId, diskId }: DiskKey): string => `${snapshotId}.${diskId}`;
export const exportIdOf = (disk: DiskKey): string => `${EXPORT_PREFIX}${exportNameOf(disk)}`;

export function diskOfExport(exportId: string): DiskKey | undefined {
  if (!exportId.startsWith(EXPORT_PREFIX)) return undefined;
  // Names of disks hold no dot, so the last one is the separator.
  const at = exportId.lastIndexOf('.');
  return { snapshotId: exportId.slice(EXPORT_PREFIX.length, at), diskId: exportId.slice(at + 1) };
}

/** The parent's dirty bits at the instant: not a checkpoint, and gone with the snapshot. */
export const frozenBitmapOf = (snapshotId: string): string => `${CHECKPOINT_PREFIX}at-${snapshotId}`;

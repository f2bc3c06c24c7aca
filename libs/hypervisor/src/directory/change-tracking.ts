/**
 * What the changed-block tracking of an image is worth against a parent restore point. A checkpoint is a persistent
 * dirty bitmap in the qcow2 file, so it travels with the data: an older copy of the image carries the older bitmap.
 * It is trusted only when nothing at all speaks against it. Every doubt is a reason for a full of that disk, never an error.
 */
import type { ChangeTracking, ImageIdentity, RestorePoint } from '@backhaul/contracts';
import type { NodeBitmap } from './block-graph.ts';
import { sameFiles, unseenBase } from './image-files.ts';

export const CHECKPOINT_PREFIX = 'backhaul-';
/** Fine enough that small writes stay small, coarse enough that 8 TiB cost 16 MiB of bitmap. */
export const CHECKPOINT_GRANULARITY_BYTES = 65_536;

/** The disk is in its name: a disk that was put in the place of another of its VM has none that is looked for. */
export const checkpointOf = (snapshotId: string, diskId: string): string =>
  `${ofSnapshot(snapshotId)}.${diskId}`;

/** Of any disk. Earlier releases named no disk. */
export const isCheckpointOf = (name: string, snapshotId: string): boolean =>
  name === ofSnapshot(snapshotId) || name.startsWith(`${ofSnapshot(snapshotId)}.`);

const ofSnapshot = (snapshotId: string): string => `${CHECKPOINT_PREFIX}${snapshotId}`;

export interface TrackedImage {
  readonly diskId: string;
  readonly sizeBytes: number;
  readonly identity: ImageIdentity;
  /** Null where the format can keep checkpoints; else why it cannot. */
  readonly withoutTracking: string | null;
  readonly bitmaps: readonly NodeBitmap[];
}

/** The disk as the parent restore point had it. */
export interface ParentDisk {
  readonly checkpoint: string | null;
  readonly identity: ImageIdentity;
}

type Doubt = Extract<ChangeTracking, { state: 'unusable' }>;
export type Judgement = { readonly state: 'usable'; readonly checkpoint: string } | Doubt;

/** `parent` undefined: there is no parent restore point; null: it does not have this disk. */
export function judgeTracking(image: TrackedImage, parent: ParentDisk | null | undefined): Judgement {
  const doubt = (code: Doubt['code'], reason: string): Doubt => ({ state: 'unusable', code, reason });
  const disk = `disk ${image.diskId}`;
  if (parent === undefined) return doubt('NoParent', `${disk} has no restore point to build on`);
  if (parent === null) return doubt('DiskNotInParent', `the parent restore point does not have ${disk}`);
  if (image.withoutTracking !== null) return doubt('FormatWithoutTracking', image.withoutTracking);
  const unseen = unseenBase(image.identity.inode);
  if (unseen !== undefined) {
    return doubt(
      'FormatWithoutTracking',
      `${disk} is based on ${unseen}, which is no file here: nothing would tell if that changed`,
    );
  }
  const { checkpoint } = parent;
  if (checkpoint === null) {
    return doubt('ParentHasNoCheckpoint', `no checkpoint of ${disk} was started with the parent`);
  }
  const { format, inode } = parent.identity;
  if (format !== image.identity.format || !sameFiles(inode, image.identity.inode)) {
    return doubt(
      'ImageReplaced',
      `the image of ${disk}, or one that it is based on, is another file than at the parent (inode ${image.identity.inode}, was ${inode})`,
    );
  }
  if (parent.identity.sizeBytes !== image.sizeBytes) {
    return doubt(
      'SizeChanged',
      `${disk} has ${image.sizeBytes} bytes, and had ${parent.identity.sizeBytes} at the parent`,
    );
  }
  const bitmap = image.bitmaps.find((one) => one.name === checkpoint);
  if (bitmap === undefined) {
    return doubt(
      'CheckpointAbsent',
      `the image of ${disk} has no bitmap ${checkpoint}: it was removed, or the image is a copy from before the parent`,
    );
  }
  if (bitmap.inconsistent) {
    return doubt(
      'CheckpointInconsistent',
      `bitmap ${checkpoint} of ${disk} was not closed cleanly: a writer of the image was killed`,
    );
  }
  if (!bitmap.recording) {
    return doubt('CheckpointDisabled', `bitmap ${checkpoint} of ${disk} is disabled: it misses writes`);
  }
  if (bitmap.granularity !== CHECKPOINT_GRANULARITY_BYTES) {
    return doubt(
      'GranularityChanged',
      `bitmap ${checkpoint} of ${disk} has a granularity of ${bitmap.granularity} bytes instead of ${CHECKPOINT_GRANULARITY_BYTES}`,
    );
  }
  return { state: 'usable', checkpoint };
}

export function parentOf(parent: RestorePoint | null, diskId: string): ParentDisk | null | undefined {
  return parent === null ? undefined : (parent.disks.find((disk) => disk.diskId === diskId) ?? null);
}

/**
 * Checkpoints of running disks are dirty bitmaps. From the instant of a snapshot on, the parent's bitmap and the new one both
 * record: the outcome decides which one goes, and nothing has to be merged back. What the parent's held at the instant is
 * copied into a bitmap that stands still, which is what the snapshot serves.
 *
 * The order makes every error a superset, never a gap: the new one begins before the filter goes in, the copy is made after.
 * A bitmap is kept in the image where that is qcow2 version 3; elsewhere it lives as long as the QEMU process, and is then simply
 * not there any more.
 */
import type { ChangeTracking } from '@backhaul/contracts';
import {
  CHECKPOINT_GRANULARITY_BYTES,
  CHECKPOINT_PREFIX,
  isCheckpointOf,
  type Judgement,
  judgeTracking,
  type ParentDisk,
} from '../directory/change-tracking.ts';
import type { QmpClient } from '../qmp.ts';
import { frozenBitmapOf } from './node-names.ts';
import type { VmDisk } from './vm-disks.ts';

type Doubt = Extract<ChangeTracking, { state: 'unusable' }>;

export function judge(disk: VmDisk, parent: ParentDisk | null | undefined): Judgement {
  const withoutTracking = disk.readOnly
    ? `disk ${disk.diskId} is read-only, and whoever writes it does so elsewhere`
    : null;
  const judgement = judgeTracking({ ...disk, withoutTracking }, parent);
  if (judgement.state === 'unusable') return judgement;
  const bitmap = disk.bitmaps.find((one) => one.name === judgement.checkpoint);
  if (bitmap?.busy !== true) return judgement;
  const reason = `bitmap ${judgement.checkpoint} of disk ${disk.diskId} is in use by another job of QEMU`;
  return { state: 'unusable', code: 'CheckpointBusy', reason } satisfies Doubt;
}

/** One left by an attempt that crashed is taken away first: it may be of another life of the process. */
export async function startCheckpoints(
  qmp: QmpClient,
  wanted: readonly { readonly disk: VmDisk; readonly name: string }[],
): Promise<void> {
  for (const { disk, name } of wanted) await removeBitmap(qmp, disk, name);
  const actions = wanted.map(({ disk, name }) => ({
    type: 'block-dirty-bitmap-add',
    data: {
      node: disk.node,
      name,
      granularity: CHECKPOINT_GRANULARITY_BYTES,
      persistent: disk.keepsBitmaps,
    },
  }));
  if (actions.length > 0) await qmp.execute('transaction', { arguments: { actions } });
}

/** Copies what `checkpoint` holds into a bitmap that records nothing. */
export async function copyBitmap(
  qmp: QmpClient,
  disk: VmDisk,
  checkpoint: string,
  copy: string,
): Promise<void> {
  const actions = [
    {
      type: 'block-dirty-bitmap-add',
      data: { node: disk.node, name: copy, granularity: CHECKPOINT_GRANULARITY_BYTES, disabled: true },
    },
    {
      type: 'block-dirty-bitmap-merge',
      data: { node: disk.node, target: copy, bitmaps: [checkpoint] },
    },
  ];
  await qmp.execute('transaction', { arguments: { actions } });
}

/** Where bitmaps are: a disk of the VM, or what is left in it of one. */
export type BitmapNode = Pick<VmDisk, 'node' | 'bitmaps'>;

export async function removeBitmap(qmp: QmpClient, disk: BitmapNode, name: string): Promise<void> {
  if (!disk.bitmaps.some((bitmap) => bitmap.name === name)) return;
  await qmp.execute('block-dirty-bitmap-remove', { arguments: { node: disk.node, name } });
}

/**
 * The end of a snapshot. `committed`: of our bitmaps the new checkpoint alone is left, the parent's and any that an earlier crash
 * left go; unless the new one is gone (the QEMU that had it is): then the others are what there is to go on from.
 */
export async function endCheckpoints(
  qmp: QmpClient,
  disk: BitmapNode,
  snapshotId: string,
  outcome: 'committed' | 'discarded',
): Promise<void> {
  const isNew = (name: string) => isCheckpointOf(name, snapshotId);
  const commits = outcome === 'committed' && disk.bitmaps.some(({ name }) => isNew(name));
  for (const { name, busy } of disk.bitmaps) {
    const others = commits && isOurs(name) && !busy && !isNew(name);
    const own = name === frozenBitmapOf(snapshotId) || (outcome === 'discarded' && isNew(name));
    if (others || own) await removeBitmap(qmp, disk, name);
  }
}

/** Whether the snapshot began a checkpoint there, or keeps a parent's. */
export const hasCheckpointOf = ({ bitmaps }: BitmapNode, snapshotId: string): boolean =>
  bitmaps.some(({ name }) => isCheckpointOf(name, snapshotId) || name === frozenBitmapOf(snapshotId));

const isOurs = (name: string): boolean =>
  name.startsWith(CHECKPOINT_PREFIX) && !name.startsWith(`${CHECKPOINT_PREFIX}look.`);

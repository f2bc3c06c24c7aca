/**
 * Gives a snapshot back: its server ends, and the checkpoints in its images are committed or put back. Every step can
 * be done again, so a crash in between only means that the caller asks once more.
 */
import { Fault } from '@backhaul/kernel';
import type { DiskKey } from './block-graph.ts';
import { CHECKPOINT_PREFIX } from './change-tracking.ts';
import { markFile, readImage, removeBitmap } from './image-file.ts';
import { despiteLocks, ImageHeld } from './image-lock.ts';
import type { FrozenImage, SnapshotState, SnapshotStates } from './snapshot-state.ts';
import { endDaemon } from './storage-daemon.ts';

/**
 * `committed`: the checkpoint of this snapshot is the only one left. `discarded`: it goes, and the others stay.
 * Once giving back has begun, its first outcome holds: asked for the other one then, the next backup finds no checkpoint
 * to build on and says so. `detach` takes the disks from whatever proxy still has them. Throws a retryable Fault with
 * code `ImageInUse` while a VM that started meanwhile holds an image.
 */
export async function releaseSnapshot(
  states: SnapshotStates,
  snapshotId: string,
  outcome: 'committed' | 'discarded',
  patienceMilliseconds: number,
  detach: (disks: readonly DiskKey[]) => Promise<void>,
): Promise<void> {
  const known = await states.read(snapshotId);
  await endDaemon(states.serverOf(snapshotId));
  if (known !== undefined) {
    // One that never stood was never told of, so there is nothing to commit.
    const releasing = known.releasing ?? (known.standing === null ? 'discarded' : outcome);
    await states.write({ ...known, releasing });
    await detach(known.images.map(({ diskId }) => ({ ownerId: snapshotId, diskId })));
    try {
      if (releasing === 'committed') await commitBitmaps(known, patienceMilliseconds);
      else await discardBitmaps(known, patienceMilliseconds);
    } catch (cause) {
      if (!(cause instanceof ImageHeld)) throw cause;
      throw new Fault(`Snapshot ${snapshotId} of VM ${known.vmId} cannot be given back yet`, {
        cause,
        code: 'ImageInUse',
      });
    }
  }
  await states.forget(snapshotId);
}

/** Removes every checkpoint but the new one: the parent's, and any that an earlier crash left. */
async function commitBitmaps(state: SnapshotState, patienceMilliseconds: number): Promise<void> {
  for (const image of state.images) {
    await removeBitmaps(
      image,
      patienceMilliseconds,
      (name) => name.startsWith(CHECKPOINT_PREFIX) && name !== image.checkpoint,
    );
  }
}

export async function discardBitmaps(state: SnapshotState, patienceMilliseconds: number): Promise<void> {
  for (const image of state.images) {
    await removeBitmaps(image, patienceMilliseconds, (name) => name === image.checkpoint);
  }
}

async function removeBitmaps(
  image: FrozenImage,
  patienceMilliseconds: number,
  isDue: (name: string) => boolean,
): Promise<void> {
  if (image.checkpoint === null) return;
  // Another file under the same name is none of this snapshot's business.
  if ((await markFile(image.path))?.inode !== image.inode) return;
  await despiteLocks(patienceMilliseconds, async () => {
    const facts = await readImage(image);
    // An image that cannot be read any more keeps what it has: a later look at it doubts it anyway.
    if (!facts.ok) return;
    for (const { name } of facts.value.bitmaps) if (isDue(name)) await removeBitmap(image, name);
  });
}

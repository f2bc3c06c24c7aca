/**
 * Freezes the images of a VM, in this order, each step recorded before it is done:
 *  1. the images are read: a corrupt or open one refuses the snapshot while nothing has been touched;
 *  2. every qcow2 image gets the bitmap that is the next checkpoint. The parent's bitmap goes on recording beside it, so
 *     until the release both hold at least what changed: a superset costs time, a gap would cost data;
 *  3. one server opens every image, which locks writers out of all of them: that is the freeze. What the parent's bitmap
 *     is worth is judged now, under the lock;
 *  4. the state says that the snapshot stands, and what each file looked like.
 */
import { exportUri, type SnapshotDisk } from '@backhaul/contracts';
import { Fault, ok, type Result, refuse } from '@backhaul/kernel';
import type { Snapshot, SnapshotOrder } from '../host.ts';
import { changedContextOf } from '../measure-export.ts';
import { withStorage } from '../storage-of.ts';
import { exportNameOf } from './block-graph.ts';
import {
  CHECKPOINT_GRANULARITY_BYTES,
  checkpointOf,
  type Judgement,
  judgeTracking,
} from './change-tracking.ts';
import { type ImageFile, imagesOf } from './folder.ts';
import { addBitmap, type ImageFacts, isWritable, markFile, readImage, removeBitmap } from './image-file.ts';
import { despiteLocks, ImageHeld, imageInUse } from './image-lock.ts';
import { discardBitmaps } from './release-snapshot.ts';
import { keepServed, type ServedDisk, serve } from './snapshot-server.ts';
import { graphDisk, type SnapshotState, type SnapshotStates, type Standing } from './snapshot-state.ts';
import { endDaemon, nbdEndpointOf } from './storage-daemon.ts';

export interface SnapshotSite {
  readonly folder: string;
  readonly states: SnapshotStates;
  /** How long a lock of somebody else is waited for before it is believed. */
  readonly lockPatienceMilliseconds: number;
}

interface Candidate {
  readonly image: ImageFile;
  readonly facts: ImageFacts;
  readonly ordered: SnapshotOrder['disks'][number];
}

export async function takeSnapshot(site: SnapshotSite, order: SnapshotOrder): Promise<Result<Snapshot>> {
  const { states, lockPatienceMilliseconds } = site;
  const known = await states.read(order.snapshotId);
  if (known !== undefined && known.releasing !== null) {
    throw new Fault(`Snapshot ${order.snapshotId} is being given back already`, {
      permanent: true,
      code: 'SnapshotReleasing',
    });
  }
  if (known?.standing != null) {
    await keepServed(states, known, known.standing, lockPatienceMilliseconds);
    return ok(snapshotOf(known.standing));
  }
  await requireNoOther(states, order);
  // A server of an attempt that did not get to its end: nobody was told of it.
  await endDaemon(states.serverOf(order.snapshotId));
  let state = known;
  try {
    const candidates = await readCandidates(site, order);
    if (!candidates.ok) return await undone(site, state, candidates);
    state = await stateBefore(order, candidates.value);
    await states.write(state);
    for (const { image, facts } of candidates.value) {
      const { checkpoint } = state.images.find((one) => one.diskId === image.diskId) ?? { checkpoint: null };
      if (checkpoint !== null) await startCheckpoint(image, facts, checkpoint, lockPatienceMilliseconds);
    }
    const standing = await freeze(site, state, candidates.value);
    await states.write({ ...state, standing });
    return ok(snapshotOf(standing));
  } catch (error) {
    if (!(error instanceof ImageHeld)) throw error;
    return await undone(site, state, refuse(imageInUse(error)));
  }
}

const snapshotOf = (standing: Standing): Snapshot => ({
  takenAt: standing.takenAt,
  // The images are at rest: there is no guest to stand still.
  pauseMilliseconds: 0,
  disks: standing.disks,
});

/** Two snapshots of one VM would lock each other out of its images. */
async function requireNoOther(states: SnapshotStates, order: SnapshotOrder): Promise<void> {
  const other = (await states.all()).find(
    (state) => state.vmId === order.vmId && state.snapshotId !== order.snapshotId,
  );
  if (other === undefined) return;
  throw new Fault(
    `VM ${order.vmId} still has snapshot ${other.snapshotId}: it has to be released before ${order.snapshotId} can be taken`,
    { code: 'SnapshotStands' },
  );
}

async function readCandidates(site: SnapshotSite, order: SnapshotOrder): Promise<Result<Candidate[]>> {
  const images = await imagesOf(site.folder, order.vmId);
  if (!images.ok) return images;
  const candidates: Candidate[] = [];
  for (const ordered of order.disks) {
    const image = images.value.find((one) => one.diskId === ordered.diskId);
    if (image === undefined) {
      const there = images.value.map((one) => one.diskId).join(', ');
      return refuse({
        code: 'ImageMissing',
        message: `Disk ${ordered.diskId} of VM ${order.vmId} has no image any more. Its disks are: ${there}.`,
      });
    }
    const facts = await despiteLocks(site.lockPatienceMilliseconds, () => readImage(image));
    if (!facts.ok) return facts;
    candidates.push({ image, facts: facts.value, ordered });
  }
  return ok(candidates);
}

async function stateBefore(order: SnapshotOrder, candidates: readonly Candidate[]): Promise<SnapshotState> {
  const images = await Promise.all(
    candidates.map(async ({ image, facts }) => ({
      ...image,
      inode: (await markFile(image.path))?.inode ?? '',
      checkpoint:
        facts.withoutTracking === null && (await isWritable(image))
          ? checkpointOf(order.snapshotId, image.diskId)
          : null,
    })),
  );
  const { snapshotId, vmId } = order;
  return { schema: 1, snapshotId, vmId, images, standing: null, releasing: null };
}

/** One left by an attempt that crashed is as good as a new one while it records: it only holds more. */
async function startCheckpoint(
  image: ImageFile,
  facts: ImageFacts,
  checkpoint: string,
  patienceMilliseconds: number,
): Promise<void> {
  const left = facts.bitmaps.find((bitmap) => bitmap.name === checkpoint);
  if (left?.usable === true) return;
  if (left !== undefined) {
    await despiteLocks(patienceMilliseconds, () => removeBitmap(image, checkpoint));
  }
  await despiteLocks(patienceMilliseconds, () => addBitmap(image, checkpoint, CHECKPOINT_GRANULARITY_BYTES));
}

async function freeze(
  site: SnapshotSite,
  state: SnapshotState,
  candidates: readonly Candidate[],
): Promise<Standing> {
  const judgements = new Map<string, Judgement>();
  const served = await serve(site.states, state, site.lockPatienceMilliseconds, (image, opened) => {
    const candidate = candidates.find((one) => one.image.diskId === image.diskId);
    if (candidate === undefined || candidate.ordered.kind === 'full') return null;
    const { facts, ordered } = candidate;
    const parent =
      ordered.parentIdentity === null
        ? null
        : { checkpoint: ordered.parentCheckpoint, identity: ordered.parentIdentity };
    const judgement = judgeTracking({ ...facts, diskId: image.diskId, bitmaps: opened.bitmaps }, parent);
    judgements.set(image.diskId, judgement);
    return judgement.state === 'usable' ? judgement.checkpoint : null;
  });
  // Under the lock: from here on nothing changes, so this is the instant.
  const takenAt = new Date().toISOString();
  const disks: SnapshotDisk[] = [];
  const files: Standing['served'] = [];
  for (const one of served) {
    const { image, bitmap } = one;
    const candidate = candidates.find((other) => other.image.diskId === image.diskId);
    const file = await markFile(image.path);
    requireAsRead(one, file?.inode, candidate?.facts);
    if (file === undefined || candidate === undefined) continue;
    const judgement = judgements.get(image.diskId);
    disks.push({
      diskId: image.diskId,
      sizeBytes: one.opened.sizeBytes,
      identity: candidate.facts.identity,
      kind: bitmap === null ? 'full' : 'incremental',
      fallbackReason: judgement?.state === 'unusable' ? judgement.reason : null,
      endpoint: exportUri(
        nbdEndpointOf(site.states.serverOf(state.snapshotId)),
        exportNameOf(graphDisk(state, image)),
      ),
      changedContext: bitmap === null ? null : changedContextOf(bitmap),
      checkpoint: image.checkpoint,
      ...(await withStorage(image.path)),
    });
    files.push({ diskId: image.diskId, bitmap, file });
  }
  return { takenAt, disks, served: files };
}

/** Between reading an image and locking it there is a moment in which somebody else can have changed it. */
function requireAsRead(served: ServedDisk, inode: string | undefined, facts: ImageFacts | undefined): void {
  const { image, opened } = served;
  if (inode !== image.inode || facts?.sizeBytes !== opened.sizeBytes) {
    throw new Fault(
      `The image of disk ${image.diskId} was replaced while it was being frozen (${image.path})`,
    );
  }
  if (image.checkpoint === null) return;
  const own = opened.bitmaps.find((bitmap) => bitmap.name === image.checkpoint);
  if (own === undefined || own.inconsistent || !own.recording) {
    throw new Fault(
      `The image of disk ${image.diskId} did not keep the checkpoint ${image.checkpoint} (${image.path})`,
    );
  }
}

/** A refused snapshot leaves nothing behind. What is held by somebody right now is left for the release to undo. */
async function undone(
  site: SnapshotSite,
  state: SnapshotState | undefined,
  refusal: Result<never>,
): Promise<Result<never>> {
  if (state === undefined) return refusal;
  await endDaemon(site.states.serverOf(state.snapshotId));
  try {
    await discardBitmaps(state, 0);
    await site.states.forget(state.snapshotId);
  } catch (error) {
    if (!(error instanceof ImageHeld)) throw error;
  }
  return refusal;
}

/**
 * The server of a snapshot holds QEMU's lock on every image for as long as the snapshot stands, and serves them. When
 * it died it may be started again only if no image was touched since: the lock was open for that time.
 */
import { Fault } from '@backhaul/kernel';
import type { QmpClient } from '../qmp.ts';
import {
  closeDisk,
  exportDisk,
  exportNameOf,
  exportNames,
  type OpenedDisk,
  openDisk,
} from './block-graph.ts';
import { markFile, sameFile } from './image-file.ts';
import { despiteLocks, ImageHeld, orHeld } from './image-lock.ts';

import {
  type FrozenImage,
  graphDisk,
  type SnapshotState,
  type SnapshotStates,
  type Standing,
} from './snapshot-state.ts';
import { endDaemon, isDaemonRunning, startDaemon, tellDaemon } from './storage-daemon.ts';

export const SERVER_START_MILLISECONDS = 30_000;
const CLOSE_MILLISECONDS = 10_000;

export interface ServedDisk {
  readonly image: FrozenImage;
  readonly opened: OpenedDisk;
  readonly bitmap: string | null;
}

/**
 * Starts the server and exports every disk, with the bitmap that `choose` names for it. Disks that an earlier attempt
 * exported are opened again, because a choice rests on what is found under the lock. Throws ImageHeld.
 */
export async function serve(
  states: SnapshotStates,
  state: SnapshotState,
  patienceMilliseconds: number,
  choose: (image: FrozenImage, opened: OpenedDisk) => string | null,
): Promise<ServedDisk[]> {
  const server = states.serverOf(state.snapshotId);
  await startDaemon(server, SERVER_START_MILLISECONDS);
  return await tellDaemon(server, async (qmp) => {
    const served: ServedDisk[] = [];
    for (const image of state.images) {
      served.push(
        await despiteLocks(patienceMilliseconds, () =>
          orHeld(image, () => serveDisk(qmp, state, image, choose)),
        ),
      );
    }
    return served;
  });
}

async function serveDisk(
  qmp: QmpClient,
  state: SnapshotState,
  image: FrozenImage,
  choose: (image: FrozenImage, opened: OpenedDisk) => string | null,
): Promise<ServedDisk> {
  const disk = graphDisk(state, image);
  await closeDisk(qmp, disk, CLOSE_MILLISECONDS);
  const opened = await openDisk(qmp, disk);
  const bitmap = choose(image, opened);
  await exportDisk(qmp, disk, bitmap);
  return { image, opened, bitmap };
}

/** Undefined while every image is what it was at the snapshot; else which one is not. */
export async function touchedImage(state: SnapshotState, standing: Standing): Promise<string | undefined> {
  for (const { diskId, file } of standing.served) {
    const path = state.images.find((image) => image.diskId === diskId)?.path ?? '';
    if (!sameFile(await markFile(path), file)) {
      return `the image of disk ${diskId} was written or replaced since the snapshot (${path})`;
    }
  }
  return undefined;
}

/** Undefined while the server runs and serves every disk; else what is wrong. */
export async function whyNotServed(
  states: SnapshotStates,
  state: SnapshotState,
): Promise<string | undefined> {
  const server = states.serverOf(state.snapshotId);
  if (!(await isDaemonRunning(server))) return `${server.what} is gone`;
  const there = await tellDaemon(server, exportNames);
  const missing = state.images.filter((image) => !there.includes(exportNameOf(graphDisk(state, image))));
  if (missing.length === 0) return undefined;
  return `${server.what} does not serve ${missing.map((image) => `disk ${image.diskId}`).join(', ')}`;
}

/**
 * Sees to it that the snapshot is served, and is still the instant it was taken at. Throws a permanent Fault with code
 * `SnapshotLost` when it is not: what is read from then on could be of another instant.
 */
export async function keepServed(
  states: SnapshotStates,
  state: SnapshotState,
  standing: Standing,
  patienceMilliseconds: number,
): Promise<void> {
  const wrong = await whyNotServed(states, state);
  await requireUntouched(state, standing);
  if (wrong === undefined) return;
  await endDaemon(states.serverOf(state.snapshotId));
  const bitmapOf = (image: FrozenImage) =>
    standing.served.find((served) => served.diskId === image.diskId)?.bitmap ?? null;
  try {
    await serve(states, state, patienceMilliseconds, bitmapOf);
  } catch (cause) {
    if (!(cause instanceof ImageHeld)) throw cause;
    throw new Fault(`Snapshot ${state.snapshotId} of VM ${state.vmId} is lost: its server died`, {
      cause,
      permanent: true,
      code: 'SnapshotLost',
    });
  }
  // Only now, under the lock again, is it certain that nobody slipped in between.
  await requireUntouched(state, standing);
}

async function requireUntouched(state: SnapshotState, standing: Standing): Promise<void> {
  const touched = await touchedImage(state, standing);
  if (touched === undefined) return;
  throw new Fault(`Snapshot ${state.snapshotId} of VM ${state.vmId} is lost: ${touched}`, {
    permanent: true,
    code: 'SnapshotLost',
  });
}

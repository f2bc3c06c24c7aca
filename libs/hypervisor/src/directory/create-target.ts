/**
 * Makes the disks of a VM to be, in this order, each step noted before it is done:
 *  1. what is in the way refuses the target while nothing has been touched;
 *  2. the images are made, empty, and synced; until the note says that all of them stand, they are made again;
 *  3. one server opens them all for writing.
 */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exportUri } from '@backhaul/contracts';
import { Fault, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { droppedDisks } from '../dropped-disks.ts';
import type { Target, TargetInspection, TargetOrder } from '../host.ts';
import { withoutInstantRecovery } from '../no-instant.ts';
import { isThere, syncFolder } from '../state-file.ts';
import { withStorage } from '../storage-of.ts';
import { targetGone } from '../target-gone.ts';
import { bytesNeeded, bytesTaken, freeBytesIn, noSpace } from '../target-room.ts';
import { serveTarget, targetExportOf, whyTargetNotServed } from '../target-server.ts';
import { runTool } from '../tool.ts';
import { imagesOf } from './folder.ts';
import type { SnapshotStates } from './snapshot-state.ts';
import type { StagedTarget, StagedTargets } from './staged-target.ts';
import { isDaemonRunning, nbdEndpointOf } from './storage-daemon.ts';
import { syncFiles } from './sync-files.ts';
import { type PlaceSite, placeFor, whileOff } from './vm-place.ts';

export interface TargetSite extends PlaceSite {
  readonly states: SnapshotStates;
  readonly targets: StagedTargets;
  /** Takes all disks of a target from whatever proxy still has them. */
  letGo(target: StagedTarget): Promise<void>;
}

const TOOL_MILLISECONDS = 60_000;
const SECTOR_BYTES = 512;

export async function inspectTarget(site: TargetSite, order: TargetOrder): Promise<Result<TargetInspection>> {
  const unsupported = unsupportedDisk(order);
  if (unsupported !== undefined) return refuse(unsupported);
  const place = await placeFor(site.folder, order.vmId, order.replace);
  if (!place.ok) return place;
  // One that is too damaged to say what it has can be replaced: that is what a recovery is for.
  const replaced = place.value === undefined ? undefined : await imagesOf(site.folder, order.vmId);
  const dropped =
    replaced?.ok === true
      ? droppedDisks(
          order,
          replaced.value.map(({ diskId }) => diskId),
        )
      : undefined;
  if (dropped !== undefined) return refuse(dropped);
  return await whileOff(site, order.vmId, place.value, async () => {
    const freeBytes = await freeBytesIn(site.folder, await bytesPromised(site, order.targetId));
    const full = noSpace(order.disks, freeBytes, site.folder);
    const { instant } = withoutInstantRecovery('directory');
    if (full !== undefined) return refuse(full);
    const available = { available: true };
    return ok({ modes: { 'proxy-vm': available, 'direct-to-host': available }, instant, freeBytes });
  });
}

export async function createTarget(site: TargetSite, order: TargetOrder): Promise<Result<Target>> {
  const { targets } = site;
  const known = await targets.read(order.targetId);
  if (known !== undefined) requireSame(known, order);
  if (known !== undefined && known.stage !== 'making') return ok(await standingAgain(site, known));
  if (order.again === true) return refuse(targetGone(site.hostId, order));
  await requireNoOther(site, order);
  const inspected = await inspectTarget(site, order);
  if (!inspected.ok) return inspected;
  const { targetId, vmId, replace, disks } = order;
  const making: StagedTarget = {
    ...{ schema: 1, targetId, vmId, replace },
    disks: disks.map(({ diskId, sizeBytes, bytesToWrite }) => ({ diskId, sizeBytes, bytesToWrite })),
    ...{ stage: 'making', replaced: null },
  };
  await targets.write(making);
  await makeImages(site, making);
  const standing: StagedTarget = { ...making, stage: 'standing' };
  await targets.write(standing);
  return ok(await standingAgain(site, standing));
}

/** Sees to it that it is served; a Fault when there is none any more that could be. */
export async function standingTarget(site: TargetSite, targetId: string): Promise<StagedTarget> {
  const known = await site.targets.read(targetId);
  if (known?.stage !== 'standing') {
    throw new Fault(`Host ${site.hostId} has no target ${targetId}`, { code: 'TargetUnknown' });
  }
  await standingAgain(site, known);
  return known;
}

/** Undefined while it stands, and every disk of it is served. */
export async function whyTargetNotAlive(
  { targets }: TargetSite,
  target: StagedTarget,
): Promise<string | undefined> {
  if (target.stage === 'making') return 'its making did not get to its end';
  if (target.stage === 'keeping') return 'being made a VM';
  if (target.stage === 'discarding') return 'being discarded';
  return await whyTargetNotServed(targets.serverOf(target.targetId), targets.imagesOf(target));
}

async function standingAgain(site: TargetSite, known: StagedTarget): Promise<Target> {
  const { targets } = site;
  const { targetId, disks } = known;
  const { fresh } = targets.stagingOf(targetId);
  const server = targets.serverOf(targetId);
  // Kept but for a place that was taken, it can still be written to: nothing of it was renamed.
  const canStand =
    known.stage === 'standing' || (known.stage === 'keeping' && (await isUnmoved(site, known)));
  if (!canStand) {
    throw new Fault(
      `Target ${targetId} of VM ${known.vmId} is being ${known.stage === 'keeping' ? 'kept' : 'discarded'} already`,
      { permanent: true, code: 'TargetEnding' },
    );
  }
  if (!(await isThere(fresh))) {
    throw new Fault(`Target ${targetId} of VM ${known.vmId} is lost: there is no ${fresh} any more`, {
      permanent: true,
      code: 'TargetLost',
    });
  }
  if (known.stage !== 'standing') await targets.write({ ...known, stage: 'standing', replaced: null });
  // Before a server that died is started anew nobody may be attached (target-server.ts).
  if (!(await isDaemonRunning(server))) await site.letGo(known);
  await serveTarget(server, targets.imagesOf(known));
  const where = await withStorage(fresh);
  return {
    disks: disks.map(({ diskId, sizeBytes }) => ({
      ...where,
      diskId,
      sizeBytes,
      endpoint: exportUri(nbdEndpointOf(server), targetExportOf({ targetId, diskId })),
    })),
  };
}

/** Whether everything is still where it was before it was to be kept: then the VM in its place may have been started again since. */
export async function isUnmoved({ targets }: TargetSite, target: StagedTarget): Promise<boolean> {
  const { fresh, aside } = targets.stagingOf(target.targetId);
  const movedAside = target.replaced !== null && (await isThere(join(aside, target.replaced)));
  return (await isThere(fresh)) && !movedAside;
}

async function makeImages({ targets, folder }: TargetSite, target: StagedTarget): Promise<void> {
  const staging = targets.stagingOf(target.targetId);
  await mkdir(staging.fresh, { recursive: true });
  const images = targets.imagesOf(target);
  for (const [index, { path, format }] of images.entries()) {
    const size = String(target.disks[index]?.sizeBytes);
    await runTool('qemu-img', ['create', '-q', '-f', format, path, size], {
      milliseconds: TOOL_MILLISECONDS,
    });
  }
  await syncFiles(images.map(({ path }) => path));
  for (const each of [staging.fresh, staging.folder, dirname(staging.folder), folder]) await syncFolder(each);
}

function unsupportedDisk({ disks }: TargetOrder): Refusal | undefined {
  const odd = disks.find(({ sizeBytes }) => sizeBytes % SECTOR_BYTES !== 0);
  if (odd !== undefined) {
    return {
      code: 'UnsupportedDisk',
      message: `Disk ${odd.diskId} cannot be made: its ${odd.sizeBytes} bytes are no multiple of ${SECTOR_BYTES}, as the size of an image has to be.`,
      wayOut: 'Recover the other disks alone, and restore this one to a file.',
    };
  }
  const names = disks.map(({ diskId }) => diskId);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return undefined;
  return {
    code: 'UnsupportedDisk',
    message: `Disk ${twice} is asked for twice: the images of a VM need a name each.`,
    wayOut: 'Name each disk once.',
  };
}

/** What other targets may still take of the room that there is. */
async function bytesPromised({ targets }: TargetSite, targetId: string): Promise<number> {
  let promised = 0;
  for (const other of await targets.all()) {
    if (other.targetId === targetId) continue;
    let taken = 0;
    for (const { path } of targets.imagesOf(other)) taken += await bytesTaken(path);
    promised += Math.max(0, bytesNeeded(other.disks) - taken);
  }
  return promised;
}

function requireSame(known: StagedTarget, order: TargetOrder): void {
  const shapeOf = ({ vmId, replace, disks }: Pick<TargetOrder, 'vmId' | 'replace' | 'disks'>) =>
    JSON.stringify([vmId, replace, disks.map(({ diskId, sizeBytes }) => [diskId, sizeBytes])]);
  if (shapeOf(known) === shapeOf(order)) return;
  throw new Fault(`Target ${order.targetId} is there, and it is another one than was asked for`, {
    permanent: true,
    code: 'TargetDiffers',
  });
}

/** Two VMs to be of one name, or a VM that is being backed up and replaced, would get in each other's way. */
async function requireNoOther({ targets, states }: TargetSite, order: TargetOrder): Promise<void> {
  const other = (await targets.all()).find(
    ({ vmId, targetId }) => vmId === order.vmId && targetId !== order.targetId,
  );
  const snapshot = (await states.all()).find(({ vmId }) => vmId === order.vmId);
  if (other === undefined && (snapshot === undefined || !order.replace)) return;
  throw new Fault(
    other === undefined
      ? `VM ${order.vmId} still has snapshot ${snapshot?.snapshotId}: it has to be released before the VM can be replaced`
      : `VM ${order.vmId} still has target ${other.targetId}: it has to be kept or discarded before ${order.targetId} can be made`,
    { code: other === undefined ? 'SnapshotStands' : 'TargetStands' },
  );
}

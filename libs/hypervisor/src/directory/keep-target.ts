/**
 * Makes the disks of a target a VM: a folder of images that gets the VM's name. Nobody sees it before that one rename, and the rename
 * is the last step that can fail. A VM that is replaced is a second rename, because a folder cannot be renamed over another:
 *  1. the old VM is locked against whoever would start it, and the new disks are closed, synced and checked;
 *  2. the note says that names are about to change;
 *  3. the old VM is moved aside, into the folder of the target;
 *  4. the new one gets its name. A crash between 3 and 4 leaves both, whole, and is finished by asking again, or undone by discarding;
 *  5. only then the old one is removed, and at last the note. The VM is there before: what cannot be removed is found by the next look
 *     (observe), as a target that nobody knows of, and is discarded then.
 * `start` has no meaning here: the VMs of a folder of images are at rest.
 */
import { mkdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault, ok, type Result, refuse } from '@backhaul/kernel';
import { isThere, removeFolder, syncFolder, writeState } from '../state-file.ts';
import { closeTarget } from '../target-server.ts';
import { isUnmoved, type TargetSite } from './create-target.ts';
import { checkImage } from './image-file.ts';
import type { StagedTarget } from './staged-target.ts';
import { endDaemon } from './storage-daemon.ts';
import { syncFiles } from './sync-files.ts';
import { markerIn, markerOf, placeFor, recoveryThatMade, vmExists, whileOff } from './vm-place.ts';

export async function keepTarget(site: TargetSite, targetId: string, vmId: string): Promise<Result<null>> {
  const known = await site.targets.read(targetId);
  if (known === undefined && (await recoveryThatMade(site.folder, vmId)) === targetId) return ok(null);
  if (known?.vmId !== vmId || known.stage === 'making' || known.stage === 'discarding') {
    throw new Fault(`Host ${site.hostId} has no target ${targetId} that could be VM ${vmId}`, {
      code: 'TargetUnknown',
    });
  }
  if (known.stage === 'keeping' && !(await isUnmoved(site, known))) return await changeNames(site, known);
  const place = await placeFor(site.folder, vmId, known.replace);
  if (!place.ok) return place;
  return await whileOff(site, vmId, place.value, async () => {
    const closed = await closeImages(site, known);
    if (!closed.ok) return closed;
    const keeping: StagedTarget = { ...known, stage: 'keeping', replaced: place.value?.entry ?? null };
    await site.targets.write(keeping);
    return await changeNames(site, keeping);
  });
}

/** Nothing of it is left, but for a VM that it has become. */
export async function discardTarget(site: TargetSite, targetId: string): Promise<void> {
  const { targets } = site;
  const known = await targets.read(targetId);
  if (known === undefined) {
    await endDaemon(targets.serverOf(targetId));
    await removeUnnoted(site, targetId);
    await targets.forget(targetId);
    return;
  }
  await site.letGo(known);
  await endDaemon(targets.serverOf(targetId));
  const { fresh, folder } = targets.stagingOf(targetId);
  if (known.stage === 'keeping' && (await hasItsName(site, known))) {
    await removeRest(site, known);
    return;
  }
  if (known.stage === 'keeping') await putBack(site, known);
  await targets.write({ ...known, stage: 'discarding' }).catch((error: NodeJS.ErrnoException) => {
    // Where no room is left for a note, the disks that took it must go all the more; one of them missing, none are ever kept.
    if (error.code !== 'ENOSPC') throw error;
  });
  await rm(fresh, { recursive: true, force: true });
  await removeRest(site, known);
  await syncFolder(dirname(folder));
}

async function closeImages({ targets, ...site }: TargetSite, target: StagedTarget): Promise<Result<null>> {
  const images = targets.imagesOf(target);
  await site.letGo(target);
  await closeTarget(targets.serverOf(target.targetId), images);
  for (const image of images) {
    const health = await checkImage(image);
    if (!health.ok) return health;
  }
  const { fresh } = targets.stagingOf(target.targetId);
  await writeState(markerIn(fresh), markerOf(target.targetId));
  await syncFiles(images.map(({ path }) => path));
  await syncFolder(fresh);
  return ok(null);
}

/** Goes on from wherever it was left. What is renamed already is known by where it is. */
async function changeNames(site: TargetSite, target: StagedTarget): Promise<Result<null>> {
  const { folder, targets } = site;
  const { fresh, aside, folder: staging } = targets.stagingOf(target.targetId);
  if (await isThere(fresh)) {
    if (target.replaced !== null && !(await isThere(join(aside, target.replaced)))) {
      await mkdir(aside, { recursive: true });
      await syncFolder(staging);
      await rename(join(folder, target.replaced), join(aside, target.replaced));
      await syncFolder(aside);
      await syncFolder(folder);
    }
    const own = join(folder, target.vmId);
    try {
      await rename(fresh, own);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR')
        return refuse(nameTaken(site, target));
      throw new Fault(`Giving VM ${target.vmId} its name ${own} failed`, { cause });
    }
    await syncFolder(folder);
    await syncFolder(staging);
  }
  if (!(await hasItsName(site, target))) throw lostOnTheWay(site, target);
  await removeRest(site, target).catch(() => undefined);
  return ok(null);
}

/** Seen by the mark in it, and not by what is gone: what was replaced is removed only where the new VM stands. */
const hasItsName = async ({ folder }: TargetSite, { vmId, targetId }: StagedTarget): Promise<boolean> =>
  (await recoveryThatMade(folder, vmId)) === targetId;

const lostOnTheWay = ({ folder, targets }: TargetSite, { vmId, targetId }: StagedTarget): Fault =>
  new Fault(
    `The disks of target ${targetId} are neither in ${targets.stagingOf(targetId).fresh} nor at the name of their VM, ${join(folder, vmId)}`,
    { permanent: true, code: 'TargetLost' },
  );

/** Somebody took the name in the moment between looking and renaming. */
function nameTaken({ folder, targets }: TargetSite, { vmId, targetId, replaced }: StagedTarget) {
  const refusal = vmExists(folder, vmId, [vmId]);
  if (replaced === null) return refusal;
  const { aside } = targets.stagingOf(targetId);
  return {
    ...refusal,
    message: `${refusal.message} It came while the VM of that name was being replaced, which is whole, in ${aside}.`,
    wayOut: `Rename the VM that is at ${join(folder, vmId)} now, and ask again.`,
  };
}

/** Disks whose notes were lost. A VM that they were to replace may lie beside them: that one is nobody's to remove without a note. */
async function removeUnnoted({ targets }: TargetSite, targetId: string): Promise<void> {
  const { fresh, folder } = targets.stagingOf(targetId);
  if (!(await isThere(fresh))) return;
  await removeFolder(fresh);
  for (const each of [folder, dirname(folder)]) await rmdir(each).catch(() => undefined);
}

/** The VM that was to be replaced gets its name again. */
async function putBack({ folder, targets }: TargetSite, target: StagedTarget): Promise<void> {
  const { aside } = targets.stagingOf(target.targetId);
  if (target.replaced === null || !(await isThere(join(aside, target.replaced)))) return;
  const own = join(folder, target.replaced);
  if (await isThere(own)) {
    throw new Fault(
      `Target ${target.targetId} is not discarded: it holds the VM ${target.vmId} that it was to replace, and ${own} has taken that name; rename one of them`,
      { code: 'VmExists' },
    );
  }
  await rename(join(aside, target.replaced), own);
  await syncFolder(folder);
  await syncFolder(aside);
}

/** The last steps of keeping and of discarding: what was replaced goes, where something has come in its place. */
async function removeRest({ targets }: TargetSite, { targetId }: StagedTarget): Promise<void> {
  const { folder } = targets.stagingOf(targetId);
  await removeFolder(folder);
  // Shared by all targets: the last one removes it.
  await rmdir(dirname(folder)).catch(() => undefined);
  await targets.forget(targetId);
}

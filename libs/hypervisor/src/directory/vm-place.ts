/**
 * The place of a VM in the folder of a host, for one that is to stand there: what is in the way, and what of it may be replaced. Only
 * what is known to be a VM is ever replaced, only as a whole, and only while nobody has its images open for writing.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { z } from 'zod';
import { isThere, readState } from '../state-file.ts';
import { closeDisk, exportDisk, openDisk } from './block-graph.ts';
import { type ImageFile, imagesAlone, imagesOf, nameUnusableForVm } from './folder.ts';
import { despiteLocks, ImageHeld, orHeld } from './image-lock.ts';
import { withTransientDaemon } from './transient-daemon.ts';

export interface PlaceSite {
  readonly hostId: string;
  readonly folder: string;
  readonly looksFolder: string;
  readonly lockPatienceMilliseconds: number;
}

export interface ReplacedVm {
  /** The folder, or the one image, that the VM is: its name in the folder of the host. */
  readonly entry: string;
  readonly images: readonly ImageFile[];
}

const CLOSE_MILLISECONDS = 10_000;

/** In the folder of a VM that was recovered: of which recovery it is. So a VM that was kept is known again when nothing else is. */
const MARKER = '.backhaul-recovered.json';
const Marker = z.object({ schema: z.literal(1), recoveryId: z.string() });

export const markerIn = (vmFolder: string): string => join(vmFolder, MARKER);
export const markerOf = (recoveryId: string): z.infer<typeof Marker> => ({ schema: 1, recoveryId });
export const recoveryThatMade = async (folder: string, vmId: string): Promise<string | undefined> =>
  (await readState(markerIn(join(folder, vmId)), Marker))?.recoveryId;

/** What has to go for a VM of this name to stand there, or null. Refuses what may not go. */
export async function placeFor(
  folder: string,
  vmId: string,
  replace: boolean,
): Promise<Result<ReplacedVm | null>> {
  const unusable = nameUnusableForVm(vmId);
  if (unusable !== undefined) return refuse(unusable);
  const claims = await claimsOf(folder, vmId);
  const [entry] = claims;
  if (entry === undefined) return ok(null);
  if (!replace) return refuse(vmExists(folder, vmId, claims));
  const images = await imagesOf(folder, vmId);
  if (!images.ok) {
    const { code } = images.refusal;
    return code === 'VmUnknown' || code === 'NoDisks' ? refuse(noVmInPlace(folder, vmId, entry)) : images;
  }
  const others = await otherFilesIn(join(folder, entry), images.value);
  if (others.length === 0) return ok({ entry, images: images.value });
  return refuse({
    code: 'VmHoldsOtherFiles',
    message: `VM ${vmId} is not replaced: its folder ${join(folder, entry)} holds more than its disks (${others.join(', ')}).`,
    wayOut: 'Move those files elsewhere, or recover under another name.',
  });
}

/** Does `work` while nobody can open the images of the VM for writing. Refuses when somebody has. */
export async function whileOff<T>(
  site: PlaceSite,
  vmId: string,
  replaced: ReplacedVm | null,
  work: () => Promise<Result<T>>,
): Promise<Result<T>> {
  if (replaced === null) return await work();
  const what = `the lock on VM ${vmId} of host ${site.hostId}`;
  return await withTransientDaemon(site.looksFolder, what, async (qmp) => {
    try {
      for (const image of replaced.images) {
        // As raw: an image too damaged to be opened is what recoveries are for, and its lock is the same.
        const disk = { ...image, format: 'raw', ownerId: 'place' } as const;
        await despiteLocks(site.lockPatienceMilliseconds, () =>
          orHeld(image, async () => {
            await closeDisk(qmp, disk, CLOSE_MILLISECONDS);
            await openDisk(qmp, disk);
            await exportDisk(qmp, disk, null);
          }),
        );
      }
    } catch (error) {
      if (error instanceof ImageHeld) return refuse(vmRunning(vmId, error.image));
      throw error;
    }
    return await work();
  });
}

/** Whatever has the name, but for an empty folder: a VM takes the place of one without a trace. */
async function claimsOf(folder: string, vmId: string): Promise<string[]> {
  const claims = await imagesAlone(folder, vmId);
  const own = join(folder, vmId);
  const isEmptyFolder = (await isThere(own)) && (await readdir(own).catch(() => ['?'])).length === 0;
  return (await isThere(own)) && !isEmptyFolder ? [vmId, ...claims] : claims;
}

async function otherFilesIn(path: string, images: readonly ImageFile[]): Promise<string[]> {
  const names = await readdir(path).catch((error: NodeJS.ErrnoException) => {
    // The VM is one image, and not a folder.
    if (error.code === 'ENOTDIR') return [];
    throw error;
  });
  return names.filter((name) => name !== MARKER && !images.some((image) => image.path === join(path, name)));
}

export const vmExists = (folder: string, vmId: string, claims: readonly string[]): Refusal => ({
  code: 'VmExists',
  message: `There is a VM ${vmId} in ${folder} already (${claims.join(', ')}).`,
  wayOut: 'Recover under another name, or ask to replace it.',
});

const noVmInPlace = (folder: string, vmId: string, entry: string): Refusal => ({
  code: 'VmExists',
  message: `The place of VM ${vmId} is taken by ${join(folder, entry)}, which is no VM and therefore not replaced.`,
  wayOut: 'Move it elsewhere, or recover under another name.',
});

const vmRunning = (vmId: string, image: ImageFile): Refusal => ({
  code: 'VmRunning',
  message: `VM ${vmId} is not replaced while it runs: another process has its image ${image.path} open for writing.`,
  wayOut: 'Shut the VM down, or recover under another name.',
});

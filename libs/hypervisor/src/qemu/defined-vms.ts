/**
 * VMs that are defined on a qemu host, running or not: `vms/<vmId>/` in its folder has the disks (`<diskId>.qcow2`) and `vm.json`, the
 * definition. Disks of a VM to be lie beside, in `vms/.targets/<vmId>.<targetId>/`, where no one takes them for a VM.
 *
 * `vm.json` is what makes a VM: written in one step, over the old one where the VM is replaced. Until its disks have been moved
 * to it, one by one, they are found where they were made; so the VM is whole from that step on, whatever is interrupted.
 * A VM that was made by hand is as good: a folder with disks, and a definition without a target.
 */
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Machine, Mounts, Name } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import { isThere, readState, removeFolder, syncFolder, writeState } from '../state-file.ts';

export const VmDefinition = z.object({
  schema: z.literal(1),
  vmId: Name,
  /** The recovery that it came from. */
  targetId: z.string().nullable().default(null),
  machine: Machine,
  /** Disks of the VM that it took the place of, as long as they have not been removed. */
  replaced: z.array(Name).default([]),
  /** It runs from these, and is not whole, as long as its disks are being filled (fill.ts). */
  mounts: Mounts.optional(),
  /** In the order in which the machine has them: it boots from the first that can be booted from. */
  disks: z.array(z.object({ diskId: Name })).min(1),
});
export type VmDefinition = z.infer<typeof VmDefinition>;

const DEFINITION = 'vm.json';
const STAGING = '.targets';
const fileOf = (diskId: string): string => `${diskId}.qcow2`;

export class DefinedVms {
  /** Where disks of VMs are. */
  readonly path: string;

  constructor(address: string) {
    this.path = join(address, 'vms');
  }

  /** The folder of VMs, or where it will be made. */
  async nearestFolder(): Promise<string> {
    return (await isThere(this.path)) ? this.path : dirname(this.path);
  }

  folderOf(vmId: string): string {
    return join(this.path, Name.parse(vmId));
  }

  stagingOf(vmId: string, targetId: string): string {
    return join(this.path, STAGING, `${Name.parse(vmId)}.${targetId}`);
  }

  /** Where a disk is made that is to be the VM's. */
  stagedDisk(vmId: string, targetId: string, diskId: string): string {
    return join(this.stagingOf(vmId, targetId), fileOf(diskId));
  }

  /** Undefined for a VM that there is not, or that only runs here and was defined by others. */
  async read(vmId: string): Promise<VmDefinition | undefined> {
    if (!Name.safeParse(vmId).success) return undefined;
    const found = await readState(join(this.folderOf(vmId), DEFINITION), VmDefinition);
    if (found === undefined || found.vmId === vmId) return found;
    throw new Fault(`The definition in ${this.folderOf(vmId)} is of VM ${found.vmId}`, {
      permanent: true,
      code: 'StateUnreadable',
    });
  }

  /** VMs that have a folder here, whatever is in it. */
  async vmIds(): Promise<string[]> {
    return (await namesIn(this.path)).filter((name) => Name.safeParse(name).success);
  }

  /** Files in the folder of a VM that has no definition: somebody's, and not to be written over. */
  async strangersIn(vmId: string): Promise<string[]> {
    const names = await namesIn(this.folderOf(vmId));
    return names.includes(DEFINITION) ? [] : names.filter((name) => name !== `${DEFINITION}.new`);
  }

  /** Where the disk of a defined VM is. */
  async diskOf(definition: Pick<VmDefinition, 'vmId' | 'targetId'>, diskId: string): Promise<string> {
    const { vmId, targetId } = definition;
    const staged = targetId === null ? undefined : this.stagedDisk(vmId, targetId, diskId);
    if (staged !== undefined && (await isThere(staged))) return staged;
    return join(this.folderOf(vmId), fileOf(diskId));
  }

  /** The one step. The disks have been made where `targetId` says, and are on stable storage. */
  async define(definition: VmDefinition): Promise<void> {
    const folder = this.folderOf(definition.vmId);
    await mkdir(folder, { recursive: true });
    await syncFolder(this.path);
    await writeState(join(folder, DEFINITION), definition);
  }

  /** Brings every disk into the folder of its VM, and removes those of the VM that was there before. Done already is success. */
  async settle({ vmId, targetId, disks, replaced }: VmDefinition): Promise<void> {
    if (targetId === null || !(await isThere(this.stagingOf(vmId, targetId)))) return;
    const folder = this.folderOf(vmId);
    for (const { diskId } of disks) {
      const staged = this.stagedDisk(vmId, targetId, diskId);
      if (await isThere(staged)) await rename(staged, join(folder, fileOf(diskId)));
    }
    for (const diskId of replaced) {
      if (!disks.some((disk) => disk.diskId === diskId))
        await rm(join(folder, fileOf(diskId)), { force: true });
    }
    await syncFolder(folder);
    await this.unstage(vmId, targetId);
  }

  /** The inverse of `define` and `settle`, in one step as well: what was the VM is again what was made for one to be. */
  async undefine({ vmId }: VmDefinition, targetId: string): Promise<void> {
    const staging = this.stagingOf(vmId, targetId);
    await this.unstage(vmId, targetId);
    await mkdir(dirname(staging), { recursive: true });
    await rename(this.folderOf(vmId), staging);
    for (const folder of [dirname(staging), this.path]) await syncFolder(folder);
  }

  /** Removes what was made for a VM to be. */
  async unstage(vmId: string, targetId: string): Promise<void> {
    const staging = this.stagingOf(vmId, targetId);
    if (!(await isThere(staging))) return;
    await removeFolder(staging);
    // Empty, it says nothing; somebody else may need it at this moment.
    await rmdir(join(this.path, STAGING)).catch(() => undefined);
  }

  /** Everything that was made for VMs to be. */
  async staged(): Promise<{ vmId: string; targetId: string }[]> {
    const names = await namesIn(join(this.path, STAGING));
    return names.map((name) => {
      // Names of VMs hold no dot.
      const at = name.indexOf('.');
      return { vmId: name.slice(0, at), targetId: name.slice(at + 1) };
    });
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw new Fault(`Looking what is in ${folder} failed`, { cause });
  });
}

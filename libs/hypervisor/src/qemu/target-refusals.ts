/** Why a VM cannot be made on a qemu host, from looking alone. */
import { Name } from '@backhaul/contracts';
import type { Refusal } from '@backhaul/kernel';
import { readImage } from '../directory/image-file.ts';
import { despiteLocks, ImageHeld } from '../directory/image-lock.ts';
import type { TargetOrder } from '../host.ts';
import type { VmDefinition } from './defined-vms.ts';
import { CPUS_MAX, DISKS_MAX, isVmRunning, type VmStartSite } from './start-vm.ts';

/** A lock that somebody only looks through goes within this. */
const LOCK_PATIENCE_MILLISECONDS = 1000;
const SECTOR_BYTES = 512;

type Place = Pick<TargetOrder, 'vmId' | 'replace'>;

/** Is the name free, or may its VM be replaced? A socket without a listener is of a VM that ran here: others defined it. */
export async function nameTaken(site: VmStartSite, { vmId, replace }: Place): Promise<Refusal | undefined> {
  const { hostId, vms, defined } = site;
  if (!Name.safeParse(vmId).success) {
    return {
      code: 'NameUnusable',
      message: `"${vmId}" cannot be the name of a VM.`,
      wayOut: 'Use letters, digits, "-" and "_".',
    };
  }
  const strangers = await defined.strangersIn(vmId);
  if (strangers.length > 0) {
    return {
      code: 'VmExists',
      message: `${defined.folderOf(vmId)} has files, and no VM is defined there: ${strangers.slice(0, 5).join(', ')}.`,
      wayOut: 'Recover to another name, or move them away.',
    };
  }
  const runs = await isVmRunning(site, vmId);
  const definition = await defined.read(vmId);
  if (!replace && (runs || definition !== undefined || (await vms.hasMonitor(vmId)))) {
    return {
      code: 'VmExists',
      message: `There is a VM ${vmId} on host ${hostId}; ${runs ? 'it runs' : 'it is off'}.`,
      wayOut: 'Recover to another name, or ask for it to be replaced when it is off.',
    };
  }
  const held = runs || definition === undefined ? undefined : await heldDisk(site, definition);
  if (!runs && held === undefined) return undefined;
  return {
    code: 'VmRunning',
    message: `VM ${vmId} of host ${hostId} ${runs ? 'runs' : `is in use: somebody has its disk ${held} open`}.`,
    wayOut: 'End it first, or recover to another name.',
  };
}

/** A VM that was started by others has no monitor here, but it has its disks open. */
async function heldDisk({ defined }: VmStartSite, definition: VmDefinition): Promise<string | undefined> {
  for (const { diskId } of definition.disks) {
    const path = await defined.diskOf(definition, diskId);
    try {
      await despiteLocks(LOCK_PATIENCE_MILLISECONDS, () => readImage({ diskId, path, format: 'qcow2' }));
    } catch (error) {
      if (error instanceof ImageHeld) return diskId;
      throw error;
    }
  }
  return undefined;
}

/** Can this machine have these disks? */
export function unsupported({ vmId, disks, machine }: TargetOrder): Refusal | undefined {
  const wayOut = 'Choose the disks to recover, or a host of another kind.';
  const refusal = (why: string): Refusal => ({
    code: 'UnsupportedDisk',
    message: `VM ${vmId} cannot be made here: ${why}.`,
    wayOut,
  });
  if (disks.length === 0) return refusal('it has no disks');
  if (disks.length > DISKS_MAX)
    return refusal(`it has ${disks.length} disks, and the machine holds ${DISKS_MAX}`);
  for (const { diskId, sizeBytes } of disks) {
    // QEMU wants a letter first in the id of a device, and the id is the disk's name.
    if (!Name.safeParse(diskId).success || !/^[A-Za-z]/.test(diskId))
      return refusal(`"${diskId}" cannot be the name of a disk of it`);
    if (disks.filter((one) => one.diskId === diskId).length > 1) return refusal(`it has two disks ${diskId}`);
    if (sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0)
      return refusal(`disk ${diskId} has ${sizeBytes} bytes, which is no number of sectors`);
  }
  if (machine.cpus <= CPUS_MAX) return undefined;
  return {
    code: 'UnsupportedMachine',
    message: `VM ${vmId} cannot be made here: it has ${machine.cpus} processors, and the machine holds ${CPUS_MAX}.`,
    wayOut: 'Ask for a smaller machine.',
  };
}

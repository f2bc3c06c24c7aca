/**
 * Defects of QEMU releases that would harm a guest or its backup, tried with 7.2 (docs/adr/0008), and what is done about each.
 *
 * 1. A client of the built-in NBD server that hangs up while the export runs in an I/O thread ends the whole process: an
 *    assertion in blockdev-nbd.c. Such a VM is refused.
 * 2. `hbitmap_status` says "clean" of a dirty run that is followed by a clean one. A frozen disk then takes what the guest has
 *    overwritten from the live image, wherever one request spans both. So requests are cut into the filter's own clusters, which
 *    are wholly the one or the other; and because a question about allocation cannot be cut, the guest's zeroes are
 *    written as data while the snapshot stands: then nothing that was copied is ever called zero.
 * 3. `nbd-server-stop` while a client is still shaking hands never returns, and the guest stands still with it, for good: the
 *    server is never stopped (vm-exports.ts).
 * 4. A block-stream that has ended and was not dismissed holds a filter without a child, and whoever lists the nodes then ends the
 *    whole process: a null pointer in block.c. So it is dismissed as it ends, and an error stops it instead of ending it (fill.ts).
 */
import { Fault, type Refusal } from '@backhaul/kernel';
import { z } from 'zod';
import type { QmpClient } from '../qmp.ts';
import type { VmDisk } from './vm-disks.ts';

/** The first major version that is trusted to answer for a whole request; 7.2 is known not to, 8 was not tried. */
const SPANNING_READS_TRUSTED_SINCE = 9;

export const readsMustBeCut = (version: string): boolean =>
  Number(version.split('.')[0]) < SPANNING_READS_TRUSTED_SINCE;

/** A disk that writes zero clusters by itself, below the filter, defeats what is done about the second defect. */
export function diskDetectingZeroes(
  version: string,
  vmId: string,
  disks: readonly VmDisk[],
): Refusal | undefined {
  const disk = readsMustBeCut(version) ? disks.find((one) => one.detectsZeroes && !one.readOnly) : undefined;
  if (disk === undefined) return undefined;
  return {
    code: 'DetectsZeroes',
    message: `Disk ${disk.diskId} of VM ${vmId} has detect-zeroes on, and under QEMU ${version} its point in time could not be trusted.`,
    wayOut: 'Set detect-zeroes=off for the disk, or run the VM under QEMU 9 or newer.',
  };
}

const Objects = z.array(z.object({ id: z.string() }));

export async function diskInIothread(
  qmp: QmpClient,
  vmId: string,
  disks: readonly VmDisk[],
): Promise<Refusal | undefined> {
  if ((await qmp.execute('query-iothreads', { reply: Objects })).length === 0) return undefined;
  for (const { diskId, device } of disks) {
    if (!(await runsInIothread(qmp, device))) continue;
    return {
      code: 'DiskInIothread',
      message: `Disk ${diskId} of VM ${vmId} is served by an I/O thread: QEMU's NBD server ends the whole VM when a client of such a disk hangs up.`,
      wayOut: 'Start the VM without iothread= for its disks.',
    };
  }
  return undefined;
}

/** The property is the device's own (virtio-blk) or its controller's (virtio-scsi). What cannot be told counts as yes. */
async function runsInIothread(qmp: QmpClient, device: string): Promise<boolean> {
  const own = device.replace(/\/virtio-backend$/, '');
  const property = (path: string, name: string): Promise<unknown> =>
    qmp.execute('qom-get', { arguments: { path, property: name } }).catch((error: unknown) => {
      if (error instanceof Fault && error.code === 'GenericError') return undefined;
      throw error;
    });
  const thread = await property(own, 'iothread');
  if (thread !== undefined) return thread !== '';
  const bus = await property(own, 'parent_bus');
  if (typeof bus !== 'string') return true;
  const controller = /^\/machine\/[^/]+\/[^/]+/.exec(bus)?.[0] ?? bus;
  const threadOfController = await property(controller, 'iothread');
  // A controller that has no such property (IDE, USB) knows no I/O threads.
  return threadOfController !== undefined && threadOfController !== '';
}

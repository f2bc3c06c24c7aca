/**
 * Whether a snapshot still is the instant it was taken at, by looking: the VM runs, serves its frozen disks, and they can be read.
 * A frozen disk whose scratch space ran out stays where it is and fails every read: QEMU says so in no other way. A disk that does not
 * answer in time says nothing of the kind: storage stalls, and then goes on.
 */
import { statfs } from 'node:fs/promises';
import { exportUri } from '@backhaul/contracts';
import { describeError, formatBytes, hasCode } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';
import { exportIdOf, exportNameOf } from './node-names.ts';
import { exportIds } from './vm-exports.ts';
import { nbdEndpointAt, type VmSite } from './vm-site.ts';
import type { VmSnapshotState } from './vm-snapshot-state.ts';

const SECTOR_BYTES = 512;
/** What QEMU's NBD server says of a disk that cannot be read: a broken filter is EINVAL, a scratch file that failed EIO. */
const BROKEN = ['EINVAL', 'EIO', 'ENOSPC', 'UnknownExport'];

/** Undefined while it stands; else what is wrong with it. Throws when that cannot be told now. */
export async function whyNotStanding(site: VmSite, state: VmSnapshotState): Promise<string | undefined> {
  const { snapshotId, vmId, standing, releasing } = state;
  if (releasing !== null) return `being given back (${releasing})`;
  if (standing === null) return 'its taking did not get to its end';
  if (!(await site.vms.isRunning(vmId))) return `${site.vms.nameOf(vmId)} is gone`;
  const served = await site.vms.tell(vmId, exportIds);
  const missing = state.disks.filter(({ diskId }) => !served.includes(exportIdOf({ snapshotId, diskId })));
  if (missing.length > 0) {
    const disks = missing.map(({ diskId }) => `disk ${diskId}`).join(', ');
    return `${site.vms.nameOf(vmId)} does not serve ${disks}: it was started since, or somebody removed the export`;
  }
  for (const disk of state.disks) {
    const broken = await whyUnreadable(site, state, disk);
    if (broken !== undefined) return broken;
  }
  return undefined;
}

async function whyUnreadable(
  site: VmSite,
  { snapshotId, vmId }: VmSnapshotState,
  { diskId, sizeBytes, scratch }: VmSnapshotState['disks'][number],
): Promise<string | undefined> {
  if (sizeBytes < SECTOR_BYTES) return undefined;
  const uri = exportUri(nbdEndpointAt(site.vms.nbdSocketOf(vmId)), exportNameOf({ snapshotId, diskId }));
  try {
    const client = await connectNbd({
      uri,
      connectMilliseconds: site.answerMilliseconds,
      requestMilliseconds: site.answerMilliseconds,
    });
    try {
      await client.read(0, SECTOR_BYTES, Buffer.alloc(SECTOR_BYTES));
      return undefined;
    } finally {
      await client.close();
    }
  } catch (error) {
    if (!hasCode(error, ...BROKEN)) throw error;
    const free = scratch === null ? undefined : await statfs(site.scratchFolder).catch(() => undefined);
    const space =
      free === undefined
        ? ''
        : ` (${formatBytes(free.bavail * free.bsize)} of scratch space are free in ${site.scratchFolder})`;
    return `the frozen disk ${diskId} cannot be read any more${space}: ${describeError(error)}`;
  }
}

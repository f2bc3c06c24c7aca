/** What a host would say of a described VM when a backup looks at it: how much is there, and how much of it changed since the restore point. */
import { CHUNK_BYTES, type Density, type InspectedDisk, type Inspection } from '@backhaul/contracts';
import type { Chance } from './chance.ts';
import type { DiskDescription, VmDescription } from './fleet.ts';
import type { Since } from './workload.ts';

/** Where data lies on a disk is not described, so it lies evenly; that many parts are enough to cut child jobs of equal work. */
const BUCKETS_MAX = 16;
const DAY_MILLISECONDS = 86_400_000;

export interface DescribedVm {
  readonly hostId: string;
  readonly vmId: string;
  readonly group: VmDescription;
}

export function inspectionOf(
  { hostId, vmId, group }: DescribedVm,
  since: Since | undefined,
  now: number,
  chance: Chance,
): Inspection {
  return {
    hostId,
    vmId,
    disks: group.disks.map((disk) => inspectedDisk(vmId, disk, group, since, now, chance)),
    modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
  };
}

function inspectedDisk(
  vmId: string,
  disk: DiskDescription,
  group: VmDescription,
  since: Since | undefined,
  now: number,
  chance: Chance,
): InspectedDisk {
  const sizeBytes = onGrid(disk.size * chance.about(group.variation, 'size', vmId, disk.name));
  const used = Math.round(sizeBytes * disk.used);
  return {
    diskId: disk.name,
    sizeBytes,
    identity: { format: disk.tracked ? 'qcow2' : 'raw', inode: disk.name, sizeBytes },
    allocated: even(sizeBytes, used),
    tracking: tracking(vmId, disk, group, { sizeBytes, used }, since, now, chance),
  };
}

function tracking(
  vmId: string,
  disk: DiskDescription,
  group: VmDescription,
  { sizeBytes, used }: { sizeBytes: number; used: number },
  since: Since | undefined,
  now: number,
  chance: Chance,
): InspectedDisk['tracking'] {
  if (!disk.tracked)
    return {
      state: 'unusable',
      code: 'FormatWithoutTracking',
      reason: 'the disk is described as not tracked',
    };
  if (since === undefined)
    return { state: 'unusable', code: 'NoParent', reason: 'there is no restore point to build on' };
  const { backupId, takenAt } = since;
  if (group.trackingLost > 0 && chance.of('lost', vmId, disk.name, takenAt) < group.trackingLost)
    return { state: 'unusable', code: 'CheckpointInconsistent', reason: 'lost by chance, as described' };
  const days = (now - takenAt) / DAY_MILLISECONDS;
  const about = chance.about(group.variation, 'change', vmId, disk.name, Math.floor(now / DAY_MILLISECONDS));
  const changed = Math.min(used, Math.round(used * disk.changePerDay * days * about));
  return { state: 'usable', checkpoint: backupId, changed: even(sizeBytes, changed) };
}

/** Child jobs are cut on the grid of chunks. */
const onGrid = (bytes: number): number => Math.max(1, Math.round(bytes / CHUNK_BYTES)) * CHUNK_BYTES;

/** Whole bytes, spread evenly; their sum is exact. */
export function even(sizeBytes: number, bytes: number): Density {
  const bucketBytes = Math.max(1, Math.ceil(sizeBytes / CHUNK_BYTES / BUCKETS_MAX)) * CHUNK_BYTES;
  const buckets: number[] = [];
  let before = 0;
  for (let start = 0; start < sizeBytes; start += bucketBytes) {
    const upTo = Math.floor(bytes * (Math.min(sizeBytes, start + bucketBytes) / sizeBytes));
    buckets.push(upTo - before);
    before = upTo;
  }
  return { bucketBytes, buckets };
}

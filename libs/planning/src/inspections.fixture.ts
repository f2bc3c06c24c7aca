/** Inspections for tests, said in few words: `disk('vda', 8 * TiB, { allocated: 3 * TiB, changed: 5 * GiB })`. */
import { CHUNK_BYTES, type Density, type InspectedDisk, type Inspection } from '@backhaul/contracts';

/** `changed` missing: nothing tracks the changes of this disk. */
export function disk(
  diskId: string,
  sizeBytes: number,
  data: { allocated: number; changed?: number } = { allocated: sizeBytes },
): InspectedDisk {
  return {
    diskId,
    sizeBytes,
    identity: { format: data.changed === undefined ? 'raw' : 'qcow2', inode: diskId, sizeBytes },
    allocated: even(sizeBytes, data.allocated),
    tracking:
      data.changed === undefined
        ? { state: 'unusable', code: 'FormatWithoutTracking', reason: 'raw images have no dirty bitmaps' }
        : { state: 'usable', checkpoint: 'cp-1', changed: even(sizeBytes, data.changed) },
  };
}

export function inspectionOf(
  disks: InspectedDisk[],
  modes: Partial<Record<'proxy-vm' | 'direct-to-host', string>> = {},
): Inspection {
  const answer = (reason: string | undefined) =>
    reason === undefined ? { available: true } : { available: false, reason };
  return {
    hostId: 'lab',
    vmId: 'web-1',
    disks,
    modes: {
      'proxy-vm': answer(modes['proxy-vm']),
      'direct-to-host': answer(modes['direct-to-host']),
    },
  };
}

/** `bytes` spread over the disk as evenly as whole bytes allow, in at most 256 buckets on the grid. */
export function even(sizeBytes: number, bytes: number): Density {
  const bucketBytes = Math.max(1, Math.ceil(sizeBytes / CHUNK_BYTES / 256)) * CHUNK_BYTES;
  const buckets: number[] = [];
  for (let start = 0; start < sizeBytes; start += bucketBytes) {
    const end = Math.min(sizeBytes, start + bucketBytes);
    buckets.push(Math.floor(bytes * (end / sizeBytes)) - Math.floor(bytes * (start / sizeBytes)));
  }
  return { bucketBytes, buckets };
}

/**
 * Cuts a disk into child jobs: ranges that touch, cover all of it, start on the 4 MiB grid (so that no chunk belongs to
 * two jobs), and hold about the same number of bytes to read. The whole disk is covered, not only where data was seen:
 * what is read in the end is decided by the extents of the frozen disk, which may have grown since the inspection.
 */
import { CHUNK_BYTES, type PlannedChildJob } from '@backhaul/contracts';
import { bytesBefore, offsetAfter } from './density.ts';
import type { DiskToRead } from './disk-kind.ts';

/**
 * `ceil(bytes to read / childJobBytes)`, at least 1. As every disk is rounded up by itself, the sum over all disks is
 * never below `ceil(total / childJobBytes)`. A disk cannot have more jobs than places on the grid.
 */
export function countChildJobs(disk: DiskToRead, childJobBytes: number): number {
  const places = Math.max(1, Math.ceil(disk.sizeBytes / CHUNK_BYTES));
  return Math.min(places, Math.max(1, Math.ceil(disk.bytesToRead / childJobBytes)));
}

export function cutChildJobs(backupId: string, disk: DiskToRead, childJobBytes: number): PlannedChildJob[] {
  const count = countChildJobs(disk, childJobBytes);
  const bounds = [...boundaries(disk, count), disk.sizeBytes];
  return bounds.slice(0, -1).map((offset, index) => {
    const end = bounds[index + 1] ?? disk.sizeBytes;
    return {
      childJobId: `${backupId}.${disk.diskId}.${index}`,
      diskId: disk.diskId,
      offset,
      length: end - offset,
      // Rounded at the boundaries and not per job, so that the jobs add up to the disk exactly.
      estimatedBytes:
        bytesBefore(disk.density, disk.sizeBytes, end) - bytesBefore(disk.density, disk.sizeBytes, offset),
    };
  });
}

/** Where each job starts. Each is at least one place on the grid long, and leaves as many for those after it. */
function boundaries(disk: DiskToRead, count: number): number[] {
  const places = Math.ceil(disk.sizeBytes / CHUNK_BYTES);
  const starts = [0];
  let previous = 0;
  for (let index = 1; index < count; index += 1) {
    const fair = offsetAfter(disk.density, disk.sizeBytes, (disk.bytesToRead / count) * index);
    const nearest = Math.round(fair / CHUNK_BYTES);
    previous = Math.min(Math.max(nearest, previous + 1), places - (count - index));
    starts.push(previous * CHUNK_BYTES);
  }
  return starts;
}

/**
 * Cuts a disk into child jobs: ranges that touch, cover all of it, start on the 4 MiB grid (so that no chunk belongs to
 * two jobs), and hold about the same number of bytes to move. The whole disk is covered, not only where data was seen:
 * what a backup reads in the end is decided by the extents of the frozen disk, which may have grown since the inspection.
 * A data stream of a recovery is a child job, too: they differ in how many a disk is cut into.
 */
import { CHUNK_BYTES, type Density, type PlannedChildJob } from '@backhaul/contracts';
import { bytesBefore, bytesIn, offsetAfter } from './density.ts';

/**
 * A plan is one event, and an event has a bound (`EVENT_DATA_BYTES_MAX`). One that is larger is never
 * stored, and its VM's turn would not end: refused it is, with the number that would do.
 */
export const CHILD_JOBS_MAX = 3_000;

export interface DiskToCut {
  readonly diskId: string;
  readonly sizeBytes: number;
  /** Where the bytes to move lie. */
  readonly density: Density;
}

/**
 * `ceil(bytes to move / childJobBytes)`, at least 1. As every disk is rounded up by itself, the sum over all disks is
 * never below `ceil(total / childJobBytes)`. A disk cannot have more jobs than places on the grid.
 */
export function countChildJobs(disk: DiskToCut, childJobBytes: number): number {
  const places = Math.max(1, Math.ceil(disk.sizeBytes / CHUNK_BYTES));
  return Math.min(places, Math.max(1, Math.ceil(bytesIn(disk.density) / childJobBytes)));
}

/** A data stream that has not even a chunk of its own to write is not worth its ports. */
export const STREAM_BYTES_MIN = CHUNK_BYTES;

/** `maxStreamsPerDisk`, or fewer for a disk with little data. At least 1: a disk of zeros, or of no bytes, is somebody's to complete, too. */
export const countStreams = (disk: DiskToCut, maxStreamsPerDisk: number): number =>
  Math.max(1, Math.min(maxStreamsPerDisk, Math.floor(bytesIn(disk.density) / STREAM_BYTES_MIN)));

/** `runId`: the backup or the recovery, after which the jobs are named. */
export function cutIntoChildJobs(runId: string, disk: DiskToCut, count: number): PlannedChildJob[] {
  const bounds = [...boundaries(disk, count), disk.sizeBytes];
  return bounds.slice(0, -1).map((offset, index) => {
    const end = bounds[index + 1] ?? disk.sizeBytes;
    return {
      childJobId: `${runId}.${disk.diskId}.${index}`,
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
function boundaries(disk: DiskToCut, count: number): number[] {
  const places = Math.ceil(disk.sizeBytes / CHUNK_BYTES);
  const share = bytesIn(disk.density) / count;
  const starts = [0];
  let previous = 0;
  for (let index = 1; index < count; index += 1) {
    const fair = offsetAfter(disk.density, disk.sizeBytes, share * index);
    const nearest = Math.round(fair / CHUNK_BYTES);
    previous = Math.min(Math.max(nearest, previous + 1), places - (count - index));
    starts.push(previous * CHUNK_BYTES);
  }
  return starts;
}

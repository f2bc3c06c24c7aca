/** Whether there is room for the disks of a target, those counted that others are still going to write. */
import { stat, statfs } from 'node:fs/promises';
import { Fault, formatBytes, type Refusal } from '@backhaul/kernel';
import type { TargetOrder } from './host.ts';

type Disk = Pick<TargetOrder['disks'][number], 'bytesToWrite'>;

/** Tables of an image: 10 bytes per cluster of 64 KiB, and a few clusters however small it is. */
const METADATA_SHARE = 4096;
const METADATA_BYTES = 1024 * 1024;

/** What the disks will take up when they are written. */
export const bytesNeeded = (disks: readonly Disk[]): number =>
  disks.reduce(
    (sum, { bytesToWrite }) => sum + bytesToWrite + bytesToWrite / METADATA_SHARE + METADATA_BYTES,
    0,
  );

/** What this file takes up; 0 where there is none. */
export async function bytesTaken(path: string): Promise<number> {
  return ((await stat(path).catch(() => undefined))?.blocks ?? 0) * 512;
}

/** `promised`: what others are still going to write there. */
export async function freeBytesIn(folder: string, promised: number): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return Math.max(0, Math.floor(bavail * bsize - promised));
  } catch (cause) {
    throw new Fault(`Looking how much room ${folder} has failed`, { cause });
  }
}

/** Undefined when there is room enough. */
export function noSpace(disks: readonly Disk[], freeBytes: number, folder: string): Refusal | undefined {
  const needed = bytesNeeded(disks);
  if (needed <= freeBytes) return undefined;
  return {
    code: 'NoSpace',
    message: `${folder} has room for ${formatBytes(freeBytes)}, recoveries under way counted, and ${formatBytes(Math.ceil(needed))} are to be written.`,
    wayOut: 'Make room there, recover fewer disks, or choose another host.',
  };
}

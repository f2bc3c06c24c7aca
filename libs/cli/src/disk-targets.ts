/** Which disks of a restore point go to which files, for commands that write raw images. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Manifest } from '@backhaul/repository';
import { failed, usage } from './exit.ts';

export interface DiskTarget {
  readonly diskId: string;
  readonly target: string;
}

/** All disks, or the one that was named. */
export function disksOf(manifest: Manifest, disk: string | undefined): readonly string[] {
  const known = manifest.disks.map(({ diskId }) => diskId);
  if (disk !== undefined && !known.includes(disk)) {
    throw usage(`Backup ${manifest.backupId} has no disk ${disk}, only: ${known.join(', ')}.`);
  }
  return disk === undefined ? known : [disk];
}

/** `to` is a file for one disk, or a folder, which is made. */
export async function targetsOf(
  manifest: Manifest,
  to: string,
  disk: string | undefined,
): Promise<DiskTarget[]> {
  const wanted = disksOf(manifest, disk);
  const isFolder = to.endsWith('/') || ((await stat(to).catch(() => undefined))?.isDirectory() ?? false);
  if (isFolder) {
    await mkdir(to, { recursive: true });
    return wanted.map((diskId) => ({ diskId, target: within(to, diskId) }));
  }
  const [diskId, ...others] = wanted;
  if (diskId === undefined || others.length > 0) {
    throw usage(
      `Backup ${manifest.backupId} has ${wanted.length} disks (${wanted.join(', ')}), and ${to} is one file. Name one with --disk, or give a folder (with "/" at its end).`,
    );
  }
  return [{ diskId, target: to }];
}

/** Who made the manifest says what the disk is called, and not where it goes. */
function within(folder: string, diskId: string): string {
  const target = join(folder, `${diskId}.raw`);
  if (dirname(resolve(target)) !== resolve(folder))
    throw failed(
      `A disk is called ${JSON.stringify(diskId)}, which leads out of ${folder}. Was the manifest forged?`,
    );
  return target;
}

/**
 * Serves the disks of one restore point, read-only, at a place that follows from the recovery alone: whoever serves it next does so at the
 * same. What is read is checked against its digest first; what is damaged or missing is an I/O error to the reader, and told once.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { exportUri, type Mounts } from '@backhaul/contracts';
import { describeError, hasCode, isPermanent } from '@backhaul/kernel';
import { type NbdExport, serveNbd } from '@backhaul/nbd';
import {
  type ChunkCache,
  type Disk,
  openRestorePointDisk,
  type Repository,
  requireRepository,
} from '@backhaul/repository';
import type { Logger } from 'pino';
import type { MountOrder } from './mount.ts';
import { damaged } from './reasons.ts';

export interface ServingParts {
  readonly repository: Pick<Repository, 'location' | 'repositoryId' | 'readManifest' | 'indexSegments'>;
  readonly cache: ChunkCache;
  /** Where the sockets are: the hosts' QEMU processes connect to them, and the paths must not change. */
  readonly folder: string;
  readonly log: Logger;
}

export interface ServedMount {
  readonly mounts: Mounts;
  close(): Promise<void>;
}

export async function serveMount(
  { repository, cache, folder, log }: ServingParts,
  { recoveryId, backupId, manifestDigest, disks }: MountOrder,
  onDamage: (diskId: string, reason: string) => void,
): Promise<ServedMount> {
  const stored = await repository.readManifest(backupId);
  if (stored === undefined) await requireRepository(repository);
  if (stored?.digest !== manifestDigest)
    throw damaged(
      `Restore point ${backupId} has ${stored === undefined ? 'no manifest in the repository' : `a manifest of digest ${stored.digest}, and not ${manifestDigest} as planned`}`,
    );
  const { manifest } = stored;
  const exports: NbdExport[] = [];
  for (const diskId of disks) {
    const disk = await openRestorePointDisk({ repository, manifest, diskId, cache });
    exports.push(asExport(diskId, disk, (reason) => onDamage(diskId, reason)));
  }
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const server = await serveNbd({
    exports,
    listen: { kind: 'unix', socketPath: join(folder, `${recoveryId}.sock`) },
    log: (line) => log.warn({ recoveryId }, line),
  });
  return {
    mounts: Object.fromEntries(disks.map((diskId) => [diskId, exportUri(server.uri, diskId)])),
    close: () => server.close(),
  };
}

const asExport = (name: string, disk: Disk, onDamage: (reason: string) => void): NbdExport => ({
  ...{ name, sizeBytes: disk.sizeBytes, readOnly: true },
  async read(offset, length, take) {
    return await disk.read(offset, length, take).catch((error: unknown) => {
      // What is out of reach for a moment comes back.
      if (isPermanent(error) && hasCode(error, 'EIO')) onDamage(describeError(error));
      throw error;
    });
  },
  extents: (offset, length, runsMax) => disk.extents(offset, length, runsMax),
});

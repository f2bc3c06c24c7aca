/**
 * The restore point that a recovery asks for, as the repository has it now: that it is the one that was meant, that it has the
 * disks, and where their data is. Segments stream by and are summed into buckets: memory does not grow with the disk.
 */
import type { RecoveryInspection } from '@backhaul/contracts';
import { countDensity } from '@backhaul/hypervisor';
import { listed, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { TriggeredRecovery } from '@backhaul/planning';
import { type Manifest, type ManifestDisk, type Repository, requireRepository } from '@backhaul/repository';

type Disk = RecoveryInspection['disks'][number];

/** Throws what the repository throws: a permanent Fault where a manifest or a map is damaged. */
export async function measureRestorePoint(
  repository: Pick<Repository, 'location' | 'repositoryId' | 'readManifest' | 'readSegments'>,
  { backupId, restorePoint, disks: asked }: TriggeredRecovery,
  signal: AbortSignal,
): Promise<Result<Disk[]>> {
  const stored = await repository.readManifest(backupId);
  if (stored === undefined) {
    await requireRepository(repository);
    return refuse(missing(backupId, repository.location));
  }
  const { manifest, digest } = stored;
  if (digest !== restorePoint.manifestDigest) {
    return refuse(differs(backupId, repository.location, restorePoint.manifestDigest, digest));
  }
  const known = new Map(manifest.disks.map((disk) => [disk.diskId, disk]));
  const unknown = asked.filter((diskId) => !known.has(diskId));
  if (unknown.length > 0) return refuse(unknownDisks(manifest, unknown));

  const disks: Disk[] = [];
  for (const disk of manifest.disks.filter(({ diskId }) => asked.includes(diskId))) {
    disks.push(await measureDisk(repository, disk, signal));
  }
  return ok(disks);
}

async function measureDisk(
  repository: Pick<Repository, 'readSegments'>,
  disk: ManifestDisk,
  signal: AbortSignal,
): Promise<Disk> {
  const { diskId, sizeBytes } = disk;
  const data = countDensity(sizeBytes);
  for await (const { offset, length, digest } of repository.readSegments(disk)) {
    signal.throwIfAborted();
    if (digest !== null) data.add(offset, length);
  }
  return { diskId, sizeBytes, data: data.result() };
}

const missing = (backupId: string, location: string): Refusal => ({
  code: 'RestorePointMissing',
  message: `The repository ${location} has no restore point of backup ${backupId}.`,
  wayOut: 'Ask for another restore point, or give the planner the repository that has this one.',
});

const differs = (backupId: string, location: string, expected: string, found: string): Refusal => ({
  code: 'RestorePointDiffers',
  message: `The manifest of backup ${backupId} in ${location} is another than the one its backup left: its digest is ${found}, not ${expected}.`,
  wayOut: 'Verify the repository, and ask for another restore point.',
});

const unknownDisks = ({ backupId, disks }: Manifest, unknown: readonly string[]): Refusal => ({
  code: 'UnknownDisk',
  message: `The restore point of backup ${backupId} has no disk ${listed(unknown)}, only: ${listed(disks.map(({ diskId }) => diskId))}.`,
  wayOut: 'Ask for disks that it has, or name none for all of them.',
});

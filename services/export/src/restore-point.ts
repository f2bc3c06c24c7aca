/** The disk of the restore point that the plan was calculated for: that manifest and no other, or none at all. */
import type { RecoveryPlan } from '@backhaul/contracts';
import { isPermanent } from '@backhaul/kernel';
import type { ManifestDisk, Repository } from '@backhaul/repository';
import { damaged } from './reasons.ts';

export async function plannedDisk(
  repository: Pick<Repository, 'readManifest'>,
  { backupId, manifestDigest }: RecoveryPlan,
  diskId: string,
): Promise<ManifestDisk> {
  const stored = await repository.readManifest(backupId).catch((cause: unknown) => {
    // A repository that is out of reach for a moment has lost nothing.
    if (!isPermanent(cause)) throw cause;
    throw damaged(`The manifest of restore point ${backupId} cannot be read`, cause);
  });
  if (stored === undefined) throw damaged(`Restore point ${backupId} has no manifest in the repository`);
  if (stored.digest !== manifestDigest)
    throw damaged(
      `The manifest of restore point ${backupId} has digest ${stored.digest}, and not ${manifestDigest} as planned`,
    );
  const disk = stored.manifest.disks.find((candidate) => candidate.diskId === diskId);
  if (disk === undefined) throw damaged(`Restore point ${backupId} has no disk ${diskId}`);
  return disk;
}

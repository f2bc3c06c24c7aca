/** Restore points for tests, in a real repository: `storeDisks(repository, backupId, { vda: '.##.' })` has data in the second and third 4 MiB. */
import { CHUNK_BYTES } from '@backhaul/contracts';
import type { Repository, Segment, StoredManifest } from '@backhaul/repository';

export async function storeDisks(
  repository: Repository,
  backupId: string,
  disks: Readonly<Record<string, string>>,
): Promise<StoredManifest> {
  const { digest } = await repository.putChunk(new Uint8Array(CHUNK_BYTES).fill(7));
  const segmentsOf = (picture: string): Segment[] =>
    [...picture].map((slot, index) => ({
      offset: index * CHUNK_BYTES,
      length: CHUNK_BYTES,
      digest: slot === '#' ? digest : null,
      chunkOffset: 0,
    }));
  return await repository.putManifest({
    ...{ backupId, hostId: 'lab', vmId: 'web-1', kind: 'full', takenAt: '2026-01-01T00:00:00Z' },
    parentBackupId: null,
    disks: Object.entries(disks).map(([diskId, picture]) => ({
      diskId,
      sizeBytes: picture.length * CHUNK_BYTES,
      segments: segmentsOf(picture),
    })),
  });
}

import { randomBytes } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { openRepository } from '../open-repository.ts';
import type { OpenRepositoryOptions, Repository, Segment, StoredManifest } from '../repository.ts';
import { sampleBackupId } from './sample-backup-id.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** A repository of the running test's own, closed and removed when the test ends. */
export async function sampleRepository(options: Partial<OpenRepositoryOptions> = {}): Promise<Repository> {
  const location = options.location ?? (await temporaryFolder());
  const repository = await openRepository({ workers: 1, ...options, location });
  onTestFinished(() => repository.close());
  return repository;
}

/** Bytes in a buffer of their own, as `putChunk` takes them. */
export const noise = (length: number): Uint8Array<ArrayBuffer> => new Uint8Array(randomBytes(length));

/** Stores a disk cut at every `pieceBytes` and a manifest that names it as disk `vda`. */
export async function storeDisk(
  repository: Repository,
  backup: number,
  content: Uint8Array,
  pieceBytes: number,
): Promise<StoredManifest> {
  const segments: Segment[] = [];
  for (let offset = 0; offset < content.length; offset += pieceBytes) {
    const piece = new Uint8Array(content.subarray(offset, offset + pieceBytes));
    const length = piece.length;
    const { digest } = await repository.putChunk(piece);
    segments.push({ offset, length, digest, chunkOffset: 0 });
  }
  return repository.putManifest({
    ...{ backupId: sampleBackupId(backup), hostId: 'host', vmId: 'vm', kind: 'full', parentBackupId: null },
    takenAt: new Date(Date.UTC(2025, 0, backup)).toISOString(),
    disks: [{ diskId: 'vda', sizeBytes: content.length, segments }],
  });
}

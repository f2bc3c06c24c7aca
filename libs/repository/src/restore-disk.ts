/**
 * One disk of a restore point, written to a raw file straight from the repository: no service, no database. The file
 * appears under its name only when every chunk was checked and all of it is durable; zeros stay holes.
 */
import type { FileHandle } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Fault, isPermanent } from '@backhaul/kernel';
import { makeRawFile, refuseExisting, writeSparsely } from './raw-file.ts';
import type { Manifest, ManifestDisk, Repository, Segment } from './repository.ts';
import { SharedChunks } from './shared-chunks.ts';

export interface RestoreDiskOptions {
  readonly repository: Pick<Repository, 'readSegments' | 'holdChunk'>;
  readonly manifest: Manifest;
  readonly diskId: string;
  /** The raw file to make. */
  readonly target: string;
  /** Replaces a target that exists; without it the target must be free. */
  readonly overwrite?: boolean;
  /** Chunks read and written at a time. Default 4. */
  readonly concurrency?: number;
  /** `doneBytes` of `totalBytes` of the disk, zeros included. Called for every segment. */
  readonly onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
  readonly signal?: AbortSignal;
}

export interface RestoredDisk {
  readonly sizeBytes: number;
  /** What was written: the rest are holes. */
  readonly writtenBytes: number;
}

/**
 * Throws a Fault that names the disk, and the offset and digest where a chunk is damaged or missing (permanent). The
 * target is then as it was.
 */
export async function restoreDisk(options: RestoreDiskOptions): Promise<RestoredDisk> {
  const { manifest, diskId } = options;
  const disk = manifest.disks.find((candidate) => candidate.diskId === diskId);
  if (disk === undefined) {
    const known = manifest.disks.map((candidate) => candidate.diskId).join(', ');
    throw new Fault(`Backup ${manifest.backupId} has no disk ${diskId}, only: ${known}`, { permanent: true });
  }
  const target = resolve(options.target);
  const overwrite = options.overwrite ?? false;
  if (!overwrite) await refuseExisting(target);
  try {
    const writtenBytes = await makeRawFile({ target, sizeBytes: disk.sizeBytes, overwrite }, (file) =>
      fill(file, disk, options),
    );
    return { sizeBytes: disk.sizeBytes, writtenBytes };
  } catch (error) {
    throw new Fault(`Restoring disk ${diskId} of backup ${manifest.backupId} to ${target} failed`, {
      cause: error,
      permanent: isPermanent(error),
    });
  }
}

async function fill(file: FileHandle, disk: ManifestDisk, options: RestoreDiskOptions): Promise<number> {
  const concurrency = options.concurrency ?? 4;
  const chunks = new SharedChunks(options.repository, concurrency * 2);
  const running = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  let doneBytes = 0;
  let writtenBytes = 0;

  const restore = async (segment: Segment): Promise<void> => {
    try {
      const written = await restoreSegment(file, disk, segment, chunks);
      writtenBytes += written;
      doneBytes += segment.length;
      options.onProgress?.({ doneBytes, totalBytes: disk.sizeBytes });
    } catch (error) {
      failure ??= { error };
    }
  };

  for await (const segment of options.repository.readSegments(disk)) {
    options.signal?.throwIfAborted();
    const work = restore(segment).then(() => {
      running.delete(work);
    });
    running.add(work);
    if (running.size >= concurrency) await Promise.race(running);
    if (failure !== undefined) break;
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
  return writtenBytes;
}

async function restoreSegment(
  file: FileHandle,
  disk: ManifestDisk,
  segment: Segment,
  chunks: SharedChunks,
): Promise<number> {
  const { offset, length, digest, chunkOffset } = segment;
  if (digest === null) return 0;
  try {
    const chunk = await chunks.hold(digest);
    try {
      const { bytes } = chunk;
      if (bytes.length < chunkOffset + length) {
        throw new Fault(`the chunk has ${bytes.length} bytes where ${chunkOffset + length} are needed`, {
          permanent: true,
        });
      }
      return await writeSparsely(file, offset, bytes.subarray(chunkOffset, chunkOffset + length));
    } finally {
      chunk.release();
    }
  } catch (error) {
    throw new Fault(`Disk ${disk.diskId}, offset ${offset}, chunk ${digest} cannot be restored`, {
      cause: error,
      permanent: isPermanent(error),
    });
  }
}

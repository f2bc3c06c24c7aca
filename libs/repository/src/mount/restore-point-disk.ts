/**
 * A disk of a restore point, readable here and there, straight from the repository. Nothing is unpacked before it is needed, but for what
 * somebody who reads on and on will need next. A chunk that is damaged or missing fails the reads that need it, with
 * disk, offset and digest in the Fault; everything else is readable.
 */
import { type Extent, Fault, isPermanent } from '@backhaul/kernel';
import type { Manifest, ManifestDisk, Repository, Segment, SegmentIndex } from '../repository.ts';
import type { ChunkCache } from './chunk-cache.ts';
import { type Disk, type DiskPiece, type DiskRun, joined, newMemory, type TakeMemory } from './disk.ts';
import { SequentialReads } from './sequential-reads.ts';

export interface RestorePointDiskOptions {
  readonly repository: Pick<Repository, 'indexSegments'>;
  readonly manifest: Manifest;
  readonly diskId: string;
  /** One for all disks of a process: they share its memory. */
  readonly cache: ChunkCache;
}

/** Looked at in one go; a disk of scattered changes has as many as one likes. */
const SEGMENTS_MAX = 16_384;

/** Throws a permanent Fault where the backup has no such disk, or its map is damaged. */
export async function openRestorePointDisk(options: RestorePointDiskOptions): Promise<Disk> {
  const { manifest, diskId } = options;
  const disk = manifest.disks.find((candidate) => candidate.diskId === diskId);
  if (disk === undefined) {
    const known = manifest.disks.map((candidate) => candidate.diskId).join(', ');
    throw new Fault(`Backup ${manifest.backupId} has no disk ${diskId}, only: ${known}`, { permanent: true });
  }
  const index = await options.repository.indexSegments(disk);
  return new RestorePointDisk(manifest.backupId, disk, index, options.cache);
}

class RestorePointDisk implements Disk {
  readonly sizeBytes: number;
  readonly #name: string;
  readonly #index: SegmentIndex;
  readonly #cache: ChunkCache;
  readonly #sequences: SequentialReads;

  constructor(backupId: string, disk: ManifestDisk, index: SegmentIndex, cache: ChunkCache) {
    this.sizeBytes = disk.sizeBytes;
    this.#name = `disk ${disk.diskId} of backup ${backupId}`;
    this.#index = index;
    this.#cache = cache;
    this.#sequences = new SequentialReads(disk.sizeBytes);
  }

  async read(offset: number, length: number, take: TakeMemory = newMemory): Promise<readonly DiskPiece[]> {
    const soon = this.#sequences.note({ offset, length });
    const pieces: DiskPiece[] = [];
    for (let at = offset; at < offset + length; ) {
      const segments = await this.#find(at, offset + length - at);
      const more = Promise.all(segments.map((segment) => this.#piece(segment, take)));
      // Behind what was asked for, which is first in the queue by now.
      if (at === offset && soon !== undefined) void this.#fetch(soon);
      pieces.push(...(await more));
      const last = segments.at(-1);
      at = last === undefined ? offset + length : last.offset + last.length;
    }
    return pieces;
  }

  async extents(offset: number, length: number, runsMax: number): Promise<readonly DiskRun[]> {
    const segments = await this.#find(offset, length);
    return joined(
      segments.map((segment) => ({ length: segment.length, isHole: segment.digest === null })),
    ).slice(0, runsMax);
  }

  async #find(offset: number, length: number): Promise<Segment[]> {
    try {
      return await this.#index.find(offset, length, SEGMENTS_MAX);
    } catch (cause) {
      throw new Fault(`The map of ${this.#name} cannot be read at offset ${offset}`, {
        cause,
        permanent: isPermanent(cause),
        code: 'EIO',
      });
    }
  }

  async #piece({ offset, length, digest, chunkOffset }: Segment, take: TakeMemory): Promise<DiskPiece> {
    if (digest === null) return { zeroBytes: length };
    try {
      return await this.#cache.use(digest, (chunk) => {
        if (chunk.length < chunkOffset + length) {
          throw new Fault(`the chunk has ${chunk.length} bytes where ${chunkOffset + length} are needed`, {
            permanent: true,
          });
        }
        // A copy: what a slow reader holds is as much as it asked for, and not whole chunks.
        const copy = take(length);
        copy.set(chunk.subarray(chunkOffset, chunkOffset + length));
        return copy;
      });
    } catch (cause) {
      throw new Fault(`Chunk ${digest} at offset ${offset} of ${this.#name} cannot be read`, {
        cause,
        permanent: isPermanent(cause),
        code: 'EIO',
      });
    }
  }

  /** Whatever fails here fails again when it is asked for, and is told then. */
  async #fetch({ offset, length }: Extent): Promise<void> {
    const segments = await this.#find(offset, length).catch(() => []);
    const digests = new Set(segments.flatMap(({ digest }) => (digest === null ? [] : [digest])));
    for (const digest of digests) this.#cache.use(digest, () => {}).catch(() => undefined);
  }
}

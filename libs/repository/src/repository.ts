/**
 * The repository, as services and tools see it. The bytes on disk are described in docs/format.md, which is the contract.
 * A repository is complete in itself: with nothing but its folder, every restore point can be listed and restored.
 */

/**
 * A piece of a restore point's disk: `length` bytes at `offset` are found at `chunkOffset` of the chunk `digest`, or are
 * zero where `digest` is null. The segments of a disk are sorted, do not overlap, and cover it all.
 */
export interface Segment {
  readonly offset: number;
  readonly length: number;
  readonly digest: string | null;
  readonly chunkOffset: number;
}

export interface StoredChunk {
  /** SHA-256 of the plain bytes; null when they are all zero, for which nothing is stored. */
  readonly digest: string | null;
  /** Bytes the repository grew by: 0 for a zero chunk and for one it had already. */
  readonly storedBytes: number;
}

export interface ManifestDisk {
  readonly diskId: string;
  readonly sizeBytes: number;
  /** SHA-256 of the disk's segment map file. */
  readonly mapDigest: string;
}

export interface Manifest {
  readonly formatVersion: 1;
  readonly backupId: string;
  readonly hostId: string;
  readonly vmId: string;
  readonly kind: 'full' | 'incremental';
  readonly takenAt: string;
  readonly parentBackupId: string | null;
  readonly disks: readonly ManifestDisk[];
}

export interface NewManifest extends Omit<Manifest, 'formatVersion' | 'disks'> {
  readonly disks: readonly {
    readonly diskId: string;
    readonly sizeBytes: number;
    readonly segments: AsyncIterable<Segment> | Iterable<Segment>;
  }[];
}

export interface Repository {
  readonly location: string;

  /**
   * Hashes, compresses and stores one chunk of at most 4 MiB, on a worker thread; `data` is transferred and must not be
   * touched again. Resolves when the chunk is durable (file and folder synced). Waits while too much is in flight: await it
   * or hold a bounded number.
   */
  putChunk(data: Uint8Array<ArrayBuffer>): Promise<StoredChunk>;

  /** The plain bytes, checked against their digest. Throws a permanent Fault naming the digest when damaged or missing. */
  readChunk(digest: string): Promise<Uint8Array>;

  /**
   * Writes the segment maps and then the manifest, durably. Answers the manifest's digest. The same backup again with the same content is success.
   */
  putManifest(manifest: NewManifest): Promise<{ digest: string; manifest: Manifest }>;

  /** All restore points, oldest first. A damaged manifest is listed apart and stops nothing. */
  listManifests(): Promise<{
    manifests: { manifest: Manifest; digest: string }[];
    damaged: { file: string; reason: string }[];
  }>;
  readManifest(backupId: string): Promise<{ manifest: Manifest; digest: string } | undefined>;
  readSegments(disk: ManifestDisk): AsyncIterable<Segment>;

  close(): Promise<void>;
}

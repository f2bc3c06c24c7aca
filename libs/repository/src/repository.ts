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

/** Segments as they pass through: a disk of many TiB has millions, so they are never all held. */
export type Segments = AsyncIterable<Segment> | Iterable<Segment>;

export interface StoredChunk {
  /** SHA-256 of the plain bytes; null when they are all zero, for which nothing is stored. */
  readonly digest: string | null;
  /** Bytes the repository grew by: 0 for a zero chunk and for one it had already. */
  readonly storedBytes: number;
}

/** Memory of the repository's own for one chunk. Whoever took it fills it, puts it, and gives it back. */
export interface ChunkBuffer {
  /** 4 MiB. Its contents are anything when it was taken, and anything after a put. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** Once; nobody may write to `bytes` from then on. */
  release(): void;
}

/** The plain bytes of a chunk, in memory of the repository's own. Others may hold them too: nobody changes them. */
export interface HeldChunk {
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** Once; nobody may look at `bytes` from then on. */
  release(): void;
  /** After `release`: true when nobody has needed the memory since, and the chunk is held again. */
  retake(): boolean;
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
    /** Must cover the disk, in order; `overlay` makes such a list of pieces. */
    readonly segments: Segments;
  }[];
}

/** A manifest as it was read: `digest` is the SHA-256 of the file's bytes. */
export interface StoredManifest {
  readonly manifest: Manifest;
  readonly digest: string;
}

export interface DamagedFile {
  readonly file: string;
  readonly reason: string;
}

/** Found to be damaged or missing by whoever read it, and not stored anew since. */
export interface DamagedChunk {
  readonly digest: string;
  readonly foundAt: string;
  readonly reason: string;
}

export interface HealedChunk extends DamagedChunk {
  readonly healedAt: string;
}

export interface OpenRepositoryOptions {
  /** The folder. */
  readonly location: string;
  /** Makes the repository when the folder is missing or empty. Default true; tools that only read say false. */
  readonly create?: boolean;
  /** Removes what writers that crashed left behind. Default: as `create`. */
  readonly removeAbandoned?: boolean;
  /** Threads that hash and compress. Default: one per core, at least 1, at most 8. */
  readonly workers?: number;
  /** Chunks that can be filled and put, or held, at a time, 4 MiB of memory each, used when needed; more wait. Default 16. */
  readonly buffers?: number;
  /**
   * How long the file system may take for one call, of 4 MiB at most, before it counts as failing: a Fault with the code
   * `RepositoryFailing`, which may mend. Default 10 minutes.
   */
  readonly answerMilliseconds?: number;
  /** Default 1: the level at which new data leaves a core fast enough for a backup. */
  readonly zstdLevel?: number;
}

export interface Repository {
  readonly location: string;
  /** Made once, with the repository: two folders with the same id hold copies of the same repository. */
  readonly repositoryId: string;

  /**
   * Throws a Fault with the code `RepositoryAway`, which may mend, when it is not at its location: not mounted, or another one is there.
   * What puts something asks by itself, before and after; so does what would say that something is missing, where it answers so.
   */
  requireThere(): Promise<void>;

  /** Memory to read a chunk into. Waits while all buffers are taken: that is what bounds the memory of the data path. */
  takeBuffer(): Promise<ChunkBuffer>;

  /**
   * Hashes, compresses and stores the first `length` bytes of the buffer as one chunk, on worker threads. Resolves when it is
   * durable (file and folder synced). The buffer stays its taker's, who must leave it alone until then. Safe to call from many
   * processes at once. A chunk that is there is left as it is, unless it is noted as damaged: then it is replaced, and its note goes.
   */
  putBuffer(buffer: ChunkBuffer, length: number): Promise<StoredChunk>;

  /** The same for at most 4 MiB that lie elsewhere: they are copied when a buffer is free, and must stay as they are until then. */
  putChunk(data: Uint8Array): Promise<StoredChunk>;

  /**
   * The plain bytes, checked against their digest. Throws a permanent Fault naming the digest when damaged or missing, which is then noted in
   * the repository, or the message says why it could not be.
   */
  readChunk(digest: string): Promise<Uint8Array<ArrayBuffer>>;

  /**
   * The same in a buffer of the repository's own, for bytes that are on their way: with memory of its own for every chunk the
   * collector took 40 % of the processor time of a recovery. Waits while all buffers are taken, so nobody may hold
   * one chunk and wait for another (chunks/chunk-memory.ts says who has how many).
   */
  holdChunk(digest: string): Promise<HeldChunk>;

  /** Whether the chunk's file is there, durably, and not noted as damaged. Says nothing else of its contents. */
  hasChunk(digest: string): Promise<boolean>;

  /**
   * The first of these chunks that is not there, many looked for at a time; undefined when all are, in one and the same repository. Says
   * nothing of their contents, nor of power loss: that stands since they were put.
   */
  firstMissingChunk(digests: readonly string[]): Promise<string | undefined>;

  /** Those that are noted as damaged or missing. */
  damagedChunks(): Promise<ReadonlySet<string>>;
  /** The same with what is known of them, and those that were noted before and are whole since. */
  damageNotes(): Promise<{
    readonly damaged: readonly DamagedChunk[];
    readonly healed: readonly HealedChunk[];
  }>;
  /** Of a chunk that was read and found whole: its note goes. */
  noteWhole(digest: string): Promise<void>;

  /**
   * Writes the segment maps and then the manifest, durably. Answers the manifest's digest. The same backup again with
   * the same content is success; with other content a permanent Fault.
   */
  putManifest(manifest: NewManifest): Promise<StoredManifest>;

  /** All restore points, oldest first. A damaged manifest is listed apart and stops nothing. */
  listManifests(): Promise<{
    readonly manifests: readonly StoredManifest[];
    readonly damaged: readonly DamagedFile[];
  }>;
  readManifest(backupId: string): Promise<StoredManifest | undefined>;
  /** The disk's segments in order, after the whole map was checked against its digest. Memory does not grow with the disk. */
  readSegments(disk: ManifestDisk): AsyncIterable<Segment>;

  /** The disk's segments by offset, after the whole map was checked: for reading here and there. Memory does not grow with the disk. */
  indexSegments(disk: ManifestDisk): Promise<SegmentIndex>;

  close(): Promise<void>;
}

export interface SegmentIndex {
  /** The segments of [offset, offset + length), cut to it, in order; the first `segmentsMax` where there are more. */
  find(offset: number, length: number, segmentsMax: number): Promise<Segment[]>;
}

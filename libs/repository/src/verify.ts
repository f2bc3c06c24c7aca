/**
 * Whether every restore point can be restored: every manifest and map is read and checked, and every chunk they name
 * exists; with `deep`, every chunk is read and hashed. It changes nothing, and goes on after a problem.
 */
import { describeError, isPermanent } from '@backhaul/kernel';
import { DigestSet } from './digest-set.ts';
import type {
  DamagedChunk,
  HealedChunk,
  ManifestDisk,
  Repository,
  Segment,
  StoredManifest,
} from './repository.ts';

export interface VerifyOptions {
  readonly repository: Repository;
  /** Reads and hashes every chunk. Without it a damaged chunk is not found, only a missing one. */
  readonly deep?: boolean;
  /** Only these backups; default all. */
  readonly backupIds?: readonly string[];
  /** Chunks looked at at a time. Default 4. */
  readonly concurrency?: number;
  readonly onProgress?: (progress: { chunks: number; manifests: number; totalManifests: number }) => void;
}

/** One thing that stands in the way of a restore. The places are the first where it was met: others may share the chunk. */
export interface Problem {
  readonly kind: 'manifest' | 'map' | 'chunk';
  /** The file of the repository, where it is a manifest; else the digest that names it. */
  readonly thing: string;
  readonly reason: string;
  readonly backupId?: string;
  readonly diskId?: string;
  readonly offset?: number;
}

export interface VerifyReport {
  readonly manifests: number;
  readonly chunks: number;
  /** Plain bytes read and hashed: 0 unless deep. */
  readonly readBytes: number;
  readonly problems: readonly Problem[];
  /** Chunks that were damaged or missing at some time, and were stored anew or found whole since: by a backup, or by this look. */
  readonly healed: readonly HealedChunk[];
  /** Problems beyond the 1,000 that are listed. */
  readonly moreProblems: number;
}

const PROBLEMS_MAX = 1000;

export async function verify(options: VerifyOptions): Promise<VerifyReport> {
  const { damaged: noted } = await options.repository.damageNotes();
  const run = new Verification(options, noted);
  const { manifests, damaged } = await options.repository.listManifests();
  for (const { file, reason } of damaged) {
    if (options.backupIds === undefined || options.backupIds.some((id) => file.includes(id))) {
      run.found({ kind: 'manifest', thing: file, reason });
    }
  }
  const wanted = manifests.filter(({ manifest }) => options.backupIds?.includes(manifest.backupId) ?? true);
  for (const id of options.backupIds ?? []) {
    const known = wanted.some(({ manifest }) => manifest.backupId === id);
    if (!known && !damaged.some(({ file }) => file.includes(id))) {
      run.found({ kind: 'manifest', thing: id, reason: 'there is no such backup', backupId: id });
    }
  }
  for (const [i, stored] of wanted.entries()) {
    await run.manifest(stored);
    options.onProgress?.({ chunks: run.chunks, manifests: i + 1, totalManifests: wanted.length });
  }
  return {
    manifests: wanted.length,
    chunks: run.chunks,
    readBytes: run.readBytes,
    problems: run.problems,
    healed: (await options.repository.damageNotes()).healed,
    moreProblems: run.moreProblems,
  };
}

class Verification {
  readonly problems: Problem[] = [];
  moreProblems = 0;
  readBytes = 0;
  readonly #options: VerifyOptions;
  readonly #maps = new Set<string>();
  readonly #chunks = new DigestSet();

  /** By digest. */
  readonly #noted: ReadonlyMap<string, DamagedChunk>;

  constructor(options: VerifyOptions, noted: readonly DamagedChunk[]) {
    this.#options = options;
    this.#noted = new Map(noted.map((chunk) => [chunk.digest, chunk]));
  }

  get chunks(): number {
    return this.#chunks.size;
  }

  found(problem: Problem): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push(problem);
    else this.moreProblems += 1;
  }

  async manifest({ manifest }: StoredManifest): Promise<void> {
    for (const disk of manifest.disks) {
      // Restore points that share a map share its chunks.
      if (this.#maps.has(`${disk.mapDigest}.${disk.sizeBytes}`)) continue;
      this.#maps.add(`${disk.mapDigest}.${disk.sizeBytes}`);
      await this.#disk(manifest.backupId, disk).catch((error) => {
        if (!isPermanent(error)) throw error;
        const where = { backupId: manifest.backupId, diskId: disk.diskId };
        this.found({ kind: 'map', thing: disk.mapDigest, reason: describeError(error), ...where });
      });
    }
  }

  async #disk(backupId: string, disk: ManifestDisk): Promise<void> {
    const running = new Set<Promise<void>>();
    let failure: { error: unknown } | undefined;
    for await (const segment of this.#options.repository.readSegments(disk)) {
      if (segment.digest === null || !this.#chunks.add(segment.digest)) continue;
      const work = this.#chunk(backupId, disk, segment.digest, segment)
        .catch((error) => {
          failure ??= { error };
        })
        .then(() => {
          running.delete(work);
        });
      running.add(work);
      if (running.size >= (this.#options.concurrency ?? 4)) await Promise.race(running);
      if (failure !== undefined) break;
    }
    await Promise.all(running);
    if (failure !== undefined) throw failure.error;
  }

  async #chunk(backupId: string, disk: ManifestDisk, digest: string, { offset }: Segment): Promise<void> {
    const where = { backupId, diskId: disk.diskId, offset };
    const noted = this.#noted.get(digest);
    try {
      if (this.#options.deep === true) {
        const chunk = await this.#options.repository.readChunk(digest);
        this.readBytes += chunk.length;
        if (noted !== undefined) await this.#options.repository.noteWhole(digest);
      } else if (noted !== undefined) {
        const reason = `is noted as damaged since ${noted.foundAt}: ${noted.reason}`;
        this.found({ kind: 'chunk', thing: digest, reason, ...where });
      } else if (!(await this.#options.repository.hasChunk(digest))) {
        this.found({ kind: 'chunk', thing: digest, reason: 'is missing', ...where });
      }
    } catch (error) {
      // Only what is wrong with the repository is a finding; a fault of the machine stops the run.
      if (!isPermanent(error)) throw error;
      this.found({ kind: 'chunk', thing: digest, reason: describeError(error), ...where });
    }
  }
}

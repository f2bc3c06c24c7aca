/**
 * Where to turn when a restore point is damaged: the newest older one of the same VM of which every chunk is whole. Chunks are read and
 * hashed, because one that is there may be damaged all the same; restore points of a chain share most of theirs, so each is
 * read once. It takes as long as reading a whole backup: give it a signal that ends it.
 */
import { isPermanent } from '@backhaul/kernel';
import { DigestSet } from './digest-set.ts';
import type { Manifest, ManifestDisk, Repository, StoredManifest } from './repository.ts';

export interface NewestWholeOptions {
  readonly repository: Pick<Repository, 'listManifests' | 'readSegments' | 'readChunk'>;
  readonly hostId: string;
  readonly vmId: string;
  /** Restore points of this instant and later do not count. */
  readonly before: string;
  /** The disks that are needed: a restore point without one of them does not count, and others are not looked at. */
  readonly diskIds: readonly string[];
  /** Chunks read at a time. Default 4. */
  readonly concurrency?: number;
  /** Throws its reason when it aborts. */
  readonly signal?: AbortSignal;
}

/** Undefined where there is none. Throws what is no finding about a chunk: a repository that is out of reach. */
export async function newestWhole(options: NewestWholeOptions): Promise<StoredManifest | undefined> {
  const look = new Look(options);
  const { manifests } = await options.repository.listManifests();
  for (const stored of manifests.toReversed()) {
    const disks = wantedDisks(stored.manifest, options);
    if (disks !== undefined && (await look.areWhole(disks))) return stored;
  }
  return undefined;
}

function wantedDisks(manifest: Manifest, wanted: NewestWholeOptions): ManifestDisk[] | undefined {
  if (manifest.hostId !== wanted.hostId || manifest.vmId !== wanted.vmId) return undefined;
  if (Date.parse(manifest.takenAt) >= Date.parse(wanted.before)) return undefined;
  const disks = manifest.disks.filter(({ diskId }) => wanted.diskIds.includes(diskId));
  return disks.length === new Set(wanted.diskIds).size ? disks : undefined;
}

class Look {
  readonly #options: NewestWholeOptions;
  readonly #whole = new DigestSet();
  readonly #broken = new Set<string>();

  constructor(options: NewestWholeOptions) {
    this.#options = options;
  }

  async areWhole(disks: readonly ManifestDisk[]): Promise<boolean> {
    for (const disk of disks) if (!(await this.#isWhole(disk))) return false;
    return true;
  }

  /** Ends at the first thing that is broken. */
  async #isWhole(disk: ManifestDisk): Promise<boolean> {
    const { repository, signal, concurrency = 4 } = this.#options;
    const running = new Set<Promise<void>>();
    let failure: { error: unknown } | undefined;
    try {
      for await (const { digest } of repository.readSegments(disk)) {
        signal?.throwIfAborted();
        if (digest === null) continue;
        if (this.#broken.has(digest)) return false;
        if (!this.#whole.add(digest)) continue;
        const work: Promise<void> = this.#read(digest)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .then(() => {
            running.delete(work);
          });
        running.add(work);
        if (running.size >= concurrency) await Promise.race(running);
        if (failure !== undefined) break;
      }
      await Promise.all(running);
      if (failure !== undefined) throw failure.error;
      return true;
    } catch (error) {
      signal?.throwIfAborted();
      if (isPermanent(error)) return false;
      throw error;
    } finally {
      // What is under way may still turn out to be broken, which the next restore point has to know.
      await Promise.all(running);
    }
  }

  async #read(digest: string): Promise<void> {
    try {
      await this.#options.repository.readChunk(digest);
    } catch (error) {
      // Noted as broken, for `#whole` has it as one that was looked at.
      if (isPermanent(error)) this.#broken.add(digest);
      throw error;
    }
  }
}

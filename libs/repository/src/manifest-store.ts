/**
 * Manifests and segment maps. A manifest is written last, when all it names is durable: from then on the backup is a
 * restore point. Every error names the file and what is wrong with it.
 */
import { createHash } from 'node:crypto';
import { describeError, Fault, isPermanent } from '@backhaul/kernel';
import type { Backend } from './backend/backend.ts';
import { FORMAT_VERSION, MANIFEST_FOLDER, manifestName, mapName } from './format/bounds.ts';
import { decodeManifest, encodeManifest, MANIFEST_BYTES_MAX } from './format/manifest.ts';
import { decodeSegmentMap, encodeSegmentMap } from './format/segment-map.ts';
import { indexSegments } from './mount/segment-index.ts';
import type {
  DamagedFile,
  ManifestDisk,
  NewManifest,
  Segment,
  SegmentIndex,
  Segments,
  StoredManifest,
} from './repository.ts';
import { canonical } from './segments.ts';

export class ManifestStore {
  readonly #backend: Backend;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  async put(wanted: NewManifest): Promise<StoredManifest> {
    const { backupId, hostId, vmId, kind, takenAt, parentBackupId } = wanted;
    const name = manifestName(backupId);
    const disks: ManifestDisk[] = [];
    for (const { diskId, sizeBytes, segments } of wanted.disks) {
      const mapDigest = await this.#putMap(sizeBytes, segments).catch((error) => {
        throw wrapped(`Writing the segment map of disk ${diskId} of backup ${backupId} failed`, error);
      });
      disks.push({ diskId, sizeBytes, mapDigest });
    }
    const { bytes } = encodeManifest({
      formatVersion: FORMAT_VERSION,
      ...{ backupId, hostId, vmId, kind, takenAt, parentBackupId, disks },
    });
    if ((await this.#backend.put(name, [bytes], { ifAbsent: true })) === 'present') {
      const present = await this.#backend.get(name, MANIFEST_BYTES_MAX);
      if (present === undefined || Buffer.compare(present, bytes) !== 0) {
        throw new Fault(`${name} in ${this.#backend.location} is there already, with other content`, {
          permanent: true,
          code: 'ManifestConflict',
        });
      }
    }
    return decodeManifest(bytes);
  }

  async #putMap(sizeBytes: number, segments: Segments): Promise<string> {
    const staged = await this.#backend.stage();
    try {
      const digest = createHash('sha256');
      for await (const piece of encodeSegmentMap(sizeBytes, canonical(sizeBytes, segments))) {
        digest.update(piece);
        await staged.write(piece);
      }
      const name = digest.digest('hex');
      await staged.commit(mapName(name));
      return name;
    } finally {
      await staged.discard();
    }
  }

  async read(backupId: string): Promise<StoredManifest | undefined> {
    const name = manifestName(backupId);
    const bytes = await this.#backend.get(name, MANIFEST_BYTES_MAX);
    if (bytes === undefined) return undefined;
    try {
      const stored = decodeManifest(bytes);
      if (stored.manifest.backupId !== backupId) {
        throw new Fault(`it is the manifest of backup ${stored.manifest.backupId}`, { permanent: true });
      }
      return stored;
    } catch (error) {
      throw wrapped(`${name} in ${this.#backend.location} is damaged`, error);
    }
  }

  async list(): Promise<{ manifests: StoredManifest[]; damaged: DamagedFile[] }> {
    const manifests: StoredManifest[] = [];
    const damaged: DamagedFile[] = [];
    for await (const entry of this.#backend.list(MANIFEST_FOLDER)) {
      try {
        const stored = await this.read(entry.replace(/\.json$/, ''));
        if (stored !== undefined) manifests.push(stored);
        else damaged.push({ file: `${MANIFEST_FOLDER}/${entry}`, reason: 'is not named as a manifest is' });
      } catch (error) {
        if (!isPermanent(error)) throw error;
        damaged.push({ file: `${MANIFEST_FOLDER}/${entry}`, reason: describeError(error) });
      }
    }
    manifests.sort((a, b) => order(a.manifest.takenAt, b.manifest.takenAt) || order(a.digest, b.digest));
    damaged.sort((a, b) => order(a.file, b.file));
    return { manifests, damaged };
  }

  /** Read twice: nothing of a map is used before all of it was checked, and it is never held as a whole. */
  async *segments(disk: ManifestDisk): AsyncGenerator<Segment> {
    const name = mapName(disk.mapDigest);
    const first = createHash('sha256');
    for await (const piece of this.#backend.stream(name)) first.update(piece);
    const found = first.digest('hex');
    if (found !== disk.mapDigest) {
      throw new Fault(
        `The segment map of disk ${disk.diskId} is damaged: ${name} in ${this.#backend.location} has digest ${found}`,
        { permanent: true, code: 'MapDamaged' },
      );
    }
    try {
      for await (const run of decodeSegmentMap(disk.sizeBytes, this.#backend.stream(name))) {
        for (const segment of run) yield segment;
      }
    } catch (error) {
      throw wrapped(
        `${name} in ${this.#backend.location}, the map of disk ${disk.diskId}, cannot be read`,
        error,
      );
    }
  }

  /** Read once: the index holds what it takes to trust each part again. */
  async index(disk: ManifestDisk): Promise<SegmentIndex> {
    try {
      return await indexSegments(this.#backend, disk);
    } catch (error) {
      const name = mapName(disk.mapDigest);
      throw wrapped(
        `${name} in ${this.#backend.location}, the map of disk ${disk.diskId}, cannot be read`,
        error,
      );
    }
  }
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const wrapped = (message: string, cause: unknown): Fault =>
  new Fault(message, { cause, permanent: isPermanent(cause) });

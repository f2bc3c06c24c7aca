/** Opens a repository, or makes one, and wires its parts. Any number of processes may do so at once. */
import { randomUUID } from 'node:crypto';
import { opendir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { Fault, isPermanent } from '@backhaul/kernel';
import { type LocalFolder, TEMPORARY_FOLDER } from './backend/local-folder.ts';
import { TimedFolder } from './backend/timed-folder.ts';
import { ChunkStore } from './chunks/chunk-store.ts';
import { DamageNotes } from './damage-notes.ts';
import { AWAY } from './faults.ts';
import { FORMAT_VERSION, REPOSITORY_FILE } from './format/bounds.ts';
import { decodeRepositoryFile, encodeRepositoryFile, type RepositoryFile } from './format/manifest.ts';
import { ManifestStore } from './manifest-store.ts';
import { Presence, REPOSITORY_FILE_BYTES_MAX } from './presence.ts';
import type { OpenRepositoryOptions, Repository } from './repository.ts';

/** Throws a permanent Fault when the folder is no repository, or one of a format this release does not read. */
export async function openRepository(options: OpenRepositoryOptions): Promise<Repository> {
  const location = resolve(options.location);
  const folder = new TimedFolder(location, options.answerMilliseconds);
  const create = options.create ?? true;
  const file = (await readRepositoryFile(folder)) ?? (create ? await makeRepository(folder) : undefined);
  if (file === undefined) {
    throw new Fault(`${location} is not a repository: it has no ${REPOSITORY_FILE}`, {
      permanent: true,
      code: 'NoRepository',
    });
  }
  if (options.removeAbandoned ?? create) await folder.removeAbandoned();

  const presence = new Presence(folder, file.repositoryId);
  const check = (): Promise<number> => presence.check();
  await check();
  const notes = new DamageNotes(folder);
  const chunks = new ChunkStore(folder, {
    notes,
    workers: options.workers ?? Math.max(1, Math.min(8, availableParallelism())),
    buffers: options.buffers ?? 16,
    zstdLevel: options.zstdLevel ?? 1,
    check,
  });
  const manifests = new ManifestStore(folder);
  return {
    location,
    repositoryId: file.repositoryId,
    requireThere: async () => void (await check()),
    takeBuffer: () => chunks.takeBuffer(),
    putBuffer: (buffer, length) => chunks.put(buffer, length),
    putChunk: (data) => chunks.putCopy(data),
    readChunk: (digest) => chunks.read(digest),
    holdChunk: (digest) => chunks.hold(digest),
    hasChunk: (digest) => unlessAway(check, () => chunks.has(digest)),
    firstMissingChunk: (digests) => missingForSure(check, () => chunks.firstMissing(digests)),
    damagedChunks: () => notes.digests(),
    damageNotes: () => notes.list(),
    noteWhole: (digest) => notes.remove(digest),
    putManifest: (manifest) => putWhole(check, () => manifests.put(manifest)),
    listManifests: () => manifests.list(),
    readManifest: (backupId) => unlessAway(check, () => manifests.read(backupId)),
    readSegments: (disk) => manifests.segments(disk),
    indexSegments: (disk) => manifests.index(disk),
    close: () => chunks.close(),
  };
}

/** What is not found is looked for once more in a repository that was seen to be there: only then it is missing. */
async function unlessAway<T>(check: () => Promise<number>, look: () => Promise<T>): Promise<T> {
  const found = await look();
  if (found !== undefined && found !== false) return found;
  await check();
  return await look();
}

async function missingForSure(
  check: () => Promise<number>,
  look: () => Promise<string | undefined>,
): Promise<string | undefined> {
  for (let epoch = await check(); ; ) {
    const missing = await look();
    const after = await check();
    if (after === epoch) return missing;
    epoch = after;
  }
}

/** A manifest lies in one repository with its maps, or it was not put. */
async function putWhole<T>(check: () => Promise<number>, put: () => Promise<T>): Promise<T> {
  const before = await check();
  const stored = await put();
  if ((await check()) === before) return stored;
  throw new Fault('The repository was mounted anew while a manifest was written', { code: AWAY });
}

/** The id of the repository there; undefined where there is none. Opens nothing. Throws as opening would where it cannot be used. */
export async function repositoryIdAt({
  location,
  answerMilliseconds,
}: Pick<OpenRepositoryOptions, 'location' | 'answerMilliseconds'>): Promise<string | undefined> {
  return (await readRepositoryFile(new TimedFolder(resolve(location), answerMilliseconds)))?.repositoryId;
}

async function readRepositoryFile(folder: LocalFolder): Promise<RepositoryFile | undefined> {
  const bytes = await folder.get(REPOSITORY_FILE, REPOSITORY_FILE_BYTES_MAX);
  if (bytes === undefined) return undefined;
  try {
    return decodeRepositoryFile(bytes);
  } catch (error) {
    throw new Fault(`${REPOSITORY_FILE} in ${folder.location} cannot be used`, {
      cause: error,
      permanent: isPermanent(error),
    });
  }
}

/** Of processes that make the same repository at once, one wins and the others take what it made. */
async function makeRepository(folder: LocalFolder): Promise<RepositoryFile | undefined> {
  const stranger = await otherContent(folder.location);
  if (stranger !== undefined) {
    // The winner's file may have appeared since this process looked.
    const appeared = await readRepositoryFile(folder);
    if (appeared !== undefined) return appeared;
    throw new Fault(
      `${folder.location} is not a repository and not empty (it has "${stranger}"): nothing is put there`,
      { permanent: true },
    );
  }
  await folder.make();
  const file = {
    formatVersion: FORMAT_VERSION as 1,
    repositoryId: randomUUID(),
    createdAt: new Date().toISOString(),
  };
  await folder.put(REPOSITORY_FILE, [encodeRepositoryFile(file)], { ifAbsent: true });
  return readRepositoryFile(folder);
}

async function otherContent(location: string): Promise<string | undefined> {
  try {
    for await (const entry of await opendir(location)) {
      if (entry.name !== TEMPORARY_FOLDER) return entry.name;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return undefined;
}

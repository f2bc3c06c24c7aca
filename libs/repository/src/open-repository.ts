/** Opens a repository, or makes one, and wires its parts. Any number of processes may do so at once. */
import { randomUUID } from 'node:crypto';
import { opendir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { Fault, isPermanent } from '@backhaul/kernel';
import { LocalFolder, TEMPORARY_FOLDER } from './backend/local-folder.ts';
import { ChunkStore } from './chunks/chunk-store.ts';
import { FORMAT_VERSION, REPOSITORY_FILE } from './format/bounds.ts';
import { decodeRepositoryFile, encodeRepositoryFile, type RepositoryFile } from './format/manifest.ts';
import { ManifestStore } from './manifest-store.ts';
import type { OpenRepositoryOptions, Repository } from './repository.ts';

const REPOSITORY_FILE_BYTES_MAX = 64 * 1024;

/** Throws a permanent Fault when the folder is no repository, or one of a format this release does not read. */
export async function openRepository(options: OpenRepositoryOptions): Promise<Repository> {
  const location = resolve(options.location);
  const folder = new LocalFolder(location);
  const create = options.create ?? true;
  const file = (await readRepositoryFile(folder)) ?? (create ? await makeRepository(folder) : undefined);
  if (file === undefined) {
    throw new Fault(`${location} is not a repository: it has no ${REPOSITORY_FILE}`, { permanent: true });
  }
  if (create) await folder.removeAbandoned();

  const chunks = new ChunkStore(folder, {
    workers: options.workers ?? Math.max(1, Math.min(8, availableParallelism())),
    buffers: options.buffers ?? 16,
    zstdLevel: options.zstdLevel ?? 1,
  });
  const manifests = new ManifestStore(folder);
  return {
    location,
    repositoryId: file.repositoryId,
    takeBuffer: () => chunks.takeBuffer(),
    putBuffer: (buffer, length) => chunks.put(buffer, length),
    putChunk: (data) => chunks.putCopy(data),
    readChunk: (digest) => chunks.read(digest),
    holdChunk: (digest) => chunks.hold(digest),
    hasChunk: (digest) => chunks.has(digest),
    putManifest: (manifest) => manifests.put(manifest),
    listManifests: () => manifests.list(),
    readManifest: (backupId) => manifests.read(backupId),
    readSegments: (disk) => manifests.segments(disk),
    indexSegments: (disk) => manifests.index(disk),
    close: () => chunks.close(),
  };
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

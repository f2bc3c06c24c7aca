/**
 * The backend for a local (or mounted) folder. A put is: write a temporary file in the same file system, fdatasync it,
 * rename it into place, fsync the folder it now lives in. Power loss at any moment leaves the old state, the new state,
 * or a temporary file that a later open removes; never half a file under its name.
 */
import { randomUUID } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { type FileHandle, link, mkdir, open, opendir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '@backhaul/kernel';
import { storageFault } from '../faults.ts';
import type { Backend, PutOptions, PutOutcome, StagedFile } from './backend.ts';
import { DirectFiles } from './direct-files.ts';
import { FolderSync } from './folder-sync.ts';
import { TemporaryFile, writeAll } from './temporary-file.ts';

export const TEMPORARY_FOLDER = 'tmp';
/**
 * A temporary file that nobody has written to for so long belongs to a process that is gone. Age, and not the process
 * id, because the processes may run on different machines.
 */
const ABANDONED_MILLISECONDS = 60 * 60 * 1000;
/** Looks that wait for a network's file system wait together. Each has a thread meanwhile. */
const LOOKS_AT_ONCE = 8;
const STREAM_BYTES = 256 * 1024;

/** Backups hold what the disks hold: nobody else may read them. */
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

export class LocalFolder implements Backend {
  readonly location: string;
  #folders = new FolderSync();
  readonly #direct = new DirectFiles();
  readonly #made = new Map<string, Promise<void>>();
  readonly #temporaryPrefix = `${process.pid}-${randomUUID().slice(0, 8)}`;
  #temporaryFiles = 0;

  constructor(location: string) {
    this.location = location;
  }

  /** Makes the folder itself, which no put ever does: a location that is not there is one that is not mounted. */
  async make(): Promise<void> {
    try {
      await mkdir(this.location, { mode: FOLDER_MODE, recursive: true });
      await this.#folders.sync(dirname(this.location));
    } catch (error) {
      throw storageFault(`Making the folder ${this.location}`, error);
    }
  }

  /** What lies at the location is not what was there before: its folders have to be made, or looked for, anew. */
  forget(): void {
    this.#made.clear();
    this.#folders = new FolderSync();
  }

  async put(name: string, parts: readonly Uint8Array[], options: PutOptions = {}): Promise<PutOutcome> {
    const temporary = await this.#temporary();
    try {
      const [first, ...others] = parts;
      const isWritten =
        options.pages !== undefined && first !== undefined && others.length === 0
          ? await this.#direct.write(temporary.path, options.pages, first.length)
          : false;
      if (!isWritten) for (const part of parts) await writeAll(temporary.handle, part);
      return await this.#moveInto(name, temporary, options.ifAbsent ?? false);
    } catch (error) {
      throw storageFault(`Storing ${name} in ${this.location}`, error);
    } finally {
      await temporary.discard();
    }
  }

  async stage(): Promise<StagedFile> {
    const temporary = await this.#temporary();
    return {
      write: (bytes) =>
        writeAll(temporary.handle, bytes).catch((error) => {
          throw storageFault(`Writing a temporary file in ${this.location}`, error);
        }),
      commit: async (name) => {
        try {
          await this.#moveInto(name, temporary, false);
        } catch (error) {
          throw storageFault(`Storing ${name} in ${this.location}`, error);
        }
      },
      discard: temporary.discard,
    };
  }

  async get(name: string, bytesMax: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      await using handle = await open(join(this.location, name), 'r');
      return await readAt(handle, 0, await lengthOf(handle, name, bytesMax));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageFault(`Reading ${name} of ${this.location}`, error);
    }
  }

  /** Tells a file from any other that may come to lie under its name. Undefined when there is none. */
  async markOf(name: string): Promise<string | undefined> {
    try {
      return markOf(await stat(join(this.location, name), { bigint: true }));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageFault(`Looking for ${name} in ${this.location}`, error);
    }
  }

  /** The file with the mark of the very file that was read. */
  async getMarked(
    name: string,
    bytesMax: number,
  ): Promise<{ bytes: Uint8Array<ArrayBuffer>; mark: string } | undefined> {
    try {
      await using handle = await open(join(this.location, name), 'r');
      const bytes = await readAt(handle, 0, await lengthOf(handle, name, bytesMax));
      return { bytes, mark: markOf(await handle.stat({ bigint: true })) };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageFault(`Reading ${name} of ${this.location}`, error);
    }
  }

  async getInto(name: string, target: Uint8Array): Promise<number | undefined> {
    try {
      await using handle = await open(join(this.location, name), 'r');
      const length = await lengthOf(handle, name, target.length);
      return await fill(handle, 0, target.subarray(0, length));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageFault(`Reading ${name} of ${this.location}`, error);
    }
  }

  async getPart(name: string, position: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    await using handle = await this.#open(name);
    try {
      return await readAt(handle, position, length);
    } catch (error) {
      throw storageFault(`Reading ${name} of ${this.location}`, error);
    }
  }

  async #open(name: string): Promise<FileHandle> {
    try {
      return await open(join(this.location, name), 'r');
    } catch (error) {
      if (!isMissing(error)) throw storageFault(`Reading ${name} of ${this.location}`, error);
      throw new Fault(`${name} is missing in ${this.location}`, {
        permanent: true,
        code: 'Missing',
        cause: error,
      });
    }
  }

  async *stream(name: string): AsyncIterable<Uint8Array> {
    const handle = await this.#open(name);
    try {
      const piece = Buffer.allocUnsafeSlow(STREAM_BYTES);
      for (;;) {
        const { bytesRead } = await handle.read(piece, 0, piece.length).catch((error) => {
          throw storageFault(`Reading ${name} of ${this.location}`, error);
        });
        if (bytesRead === 0) return;
        yield piece.subarray(0, bytesRead);
      }
    } finally {
      await handle.close();
    }
  }

  async has(name: string): Promise<boolean> {
    if (!(await this.#isThere(name))) return false;
    const path = join(this.location, name);
    // Another process may have renamed it a moment ago and not yet synced the folder.
    await this.#folders.sync(dirname(path)).catch((error) => {
      throw storageFault(`Syncing the folder of ${name} in ${this.location}`, error);
    });
    return true;
  }

  /** No file of the format is empty: an empty one is what some file systems leave of a file after a crash. */
  async #isThere(name: string): Promise<boolean> {
    try {
      return (await stat(join(this.location, name))).size > 0;
    } catch (error) {
      if (isMissing(error)) return false;
      throw storageFault(`Looking for ${name} in ${this.location}`, error);
    }
  }

  async firstMissing(names: readonly string[]): Promise<string | undefined> {
    for (let at = 0; at < names.length; at += LOOKS_AT_ONCE) {
      const some = names.slice(at, at + LOOKS_AT_ONCE);
      const there = await Promise.all(some.map(async (name) => await this.#isThere(name)));
      const missing = there.indexOf(false);
      if (missing >= 0) return some[missing];
    }
    return undefined;
  }

  async *list(folder: string): AsyncIterable<string> {
    try {
      for await (const entry of await opendir(join(this.location, folder))) yield entry.name;
    } catch (error) {
      if (!isMissing(error)) throw storageFault(`Listing ${folder} of ${this.location}`, error);
    }
  }

  async delete(name: string): Promise<void> {
    const path = join(this.location, name);
    try {
      await rm(path, { force: true });
      await this.#folders.sync(dirname(path));
    } catch (error) {
      if (!isMissing(error)) throw storageFault(`Deleting ${name} of ${this.location}`, error);
    }
  }

  /** Removes what crashed writers left behind, and only that: another process may be writing right now. */
  async removeAbandoned(now = Date.now()): Promise<number> {
    let removed = 0;
    for await (const name of this.list(TEMPORARY_FOLDER)) {
      const path = join(this.location, TEMPORARY_FOLDER, name);
      const found = await stat(path).catch(() => undefined);
      if (found === undefined || now - found.mtimeMs < ABANDONED_MILLISECONDS) continue;
      await rm(path, { force: true });
      removed += 1;
    }
    return removed;
  }

  async #temporary(): Promise<TemporaryFile> {
    this.#temporaryFiles += 1;
    const folder = join(this.location, TEMPORARY_FOLDER);
    const path = join(folder, `${this.#temporaryPrefix}-${this.#temporaryFiles}`);
    try {
      await this.#makeFolder(folder);
      return new TemporaryFile(path, await open(path, 'wx', FILE_MODE));
    } catch (error) {
      throw storageFault(`Making a temporary file in ${this.location}`, error);
    }
  }

  async #moveInto(name: string, temporary: TemporaryFile, ifAbsent: boolean): Promise<PutOutcome> {
    const target = join(this.location, name);
    await temporary.handle.datasync();
    await this.#makeFolder(dirname(target));
    let outcome: PutOutcome = 'stored';
    if (ifAbsent) {
      // Unlike a rename, a link refuses to replace: of two processes, one wins.
      outcome = await link(temporary.path, target).then(
        () => 'stored',
        (error: NodeJS.ErrnoException) => {
          if (error.code === 'EEXIST') return 'present';
          throw error;
        },
      );
    } else {
      await rename(temporary.path, target);
      temporary.moved();
    }
    await this.#folders.sync(dirname(target));
    return outcome;
  }

  /** Once for each folder and process: made if needed, and its own name synced, also when another process made it. */
  #makeFolder(folder: string): Promise<void> {
    if (folder === this.location) return Promise.resolve();
    const known = this.#made.get(folder);
    if (known !== undefined) return known;
    const work = (async () => {
      await this.#makeFolder(dirname(folder));
      await mkdir(folder, { mode: FOLDER_MODE }).catch((error) => {
        if (error.code !== 'EEXIST') throw error;
      });
      await this.#folders.sync(dirname(folder));
    })();
    this.#made.set(folder, work);
    work.catch(() => {
      if (this.#made.get(folder) === work) this.#made.delete(folder);
    });
    return work;
  }
}

/** No more than it may be, for memory is made for it or is there already. */
async function lengthOf(handle: FileHandle, name: string, bytesMax: number): Promise<number> {
  const found = await handle.stat();
  // Opening a folder succeeds, and one that is removed meanwhile reads as an empty file.
  if (found.isDirectory()) throw Object.assign(new Error(`EISDIR: ${name} is a folder`), { code: 'EISDIR' });
  const { size } = found;
  if (size <= bytesMax) return size;
  throw new Fault(`${name} has ${size} bytes, more than the ${bytesMax} it may have`, { permanent: true });
}

async function readAt(
  handle: FileHandle,
  position: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  // All of its own memory, and not zeroed first.
  const bytes = Buffer.allocUnsafeSlow(length);
  return bytes.subarray(0, await fill(handle, position, bytes));
}

/** Answers how much there was. */
async function fill(handle: FileHandle, position: number, target: Uint8Array): Promise<number> {
  let filled = 0;
  while (filled < target.length) {
    const { bytesRead } = await handle.read(target, filled, target.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

/** The time of the last change is in it because device and inode are used again: a server that is mounted next may get both. */
const markOf = ({ dev, ino, ctimeNs }: BigIntStats): string => `${dev}:${ino}:${ctimeNs}`;

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/**
 * Small JSON files that say what is about to be done or what stands, so that a crash at any line can be continued or
 * undone. A file is there whole or not at all: written beside, synced, renamed, and its folder synced.
 */
import { randomUUID } from 'node:crypto';
import { link, lstat, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';

export async function writeState(path: string, state: unknown): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true });
  const beside = `${path}.new`;
  const file = await open(beside, 'w');
  try {
    await file.writeFile(`${JSON.stringify(state, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncFolder(folder);
}

/** Answers false, and changes nothing, where there is one already. Of several that write at once one does. */
export async function writeStateOnce(path: string, state: unknown): Promise<boolean> {
  if (await isThere(path)) return false;
  const beside = `${path}.${randomUUID()}`;
  await writeState(beside, state);
  try {
    // Unlike a rename, it never takes the place of another.
    await link(beside, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw new Fault(`Writing ${path} failed`, { cause: error });
  } finally {
    await rm(beside, { force: true });
    await syncFolder(dirname(path));
  }
}

/** Undefined when there is none. A file that is there and does not fit is a permanent Fault: it is not ours to guess. */
export async function readState<S extends z.ZodType>(
  path: string,
  shape: S,
): Promise<z.infer<S> | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw new Fault(`Reading ${path} failed`, { cause: error });
  });
  if (text === undefined) return undefined;
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch (cause) {
    throw new Fault(`${path} is not JSON`, { cause, permanent: true, code: 'StateUnreadable' });
  }
  const checked = shape.safeParse(stored);
  if (checked.success) return checked.data;
  throw new Fault(`${path} does not fit: ${z.prettifyError(checked.error)}`, {
    permanent: true,
    code: 'StateUnreadable',
  });
}

/** Throws what says neither: to take a folder that cannot be looked at for one that has gone would be to remove what it was left for. */
export const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return false;
      throw new Fault(`Looking whether there is a ${path} failed`, { cause });
    },
  );

/** Removes a folder and all in it, durably. No such folder is success. */
export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await syncFolder(dirname(folder));
}

/** What was made, renamed or removed in it stays so after a crash. No such folder is success. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Fault(`Syncing folder ${basename(folder)} failed`, { cause: error });
  });
  if (handle === undefined) return;
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

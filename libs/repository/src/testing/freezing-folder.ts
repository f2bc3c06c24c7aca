import { execFile } from 'node:child_process';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MiB } from '@backhaul/kernel';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './temporary-folder.ts';

const run = promisify(execFile);

export interface FreezingFolder {
  /** Of a repository that is not there yet. */
  readonly location: string;
  /** From now on whoever writes hangs in the kernel, and nothing is said to have failed. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
}

/** A file system of its own, which hangs when told to. Undefined where none can be mounted: only root may, and not in every container. */
export async function freezingFolder(): Promise<FreezingFolder | undefined> {
  const folder = await temporaryFolder();
  const [image, location] = [join(folder, 'image'), join(folder, 'mounted')];
  await writeFile(image, '');
  await truncate(image, 192 * MiB);
  await mkdir(location);
  const tool = (name: string, ...words: string[]) => run(name, words, { timeout: 30_000 });
  try {
    await tool('mkfs.ext4', '-q', image);
    await tool('mount', '-o', 'loop', image, location);
  } catch {
    return undefined;
  }
  let isFrozen = false;
  const change = async (how: string, to: boolean): Promise<void> => {
    if (isFrozen !== to) await tool('fsfreeze', how, location);
    isFrozen = to;
  };
  const thaw = () => change('--unfreeze', false);
  onTestFinished(async () => {
    await thaw();
    await tool('umount', '--lazy', location);
  });
  return { location: join(location, 'repository'), freeze: () => change('--freeze', true), thaw };
}

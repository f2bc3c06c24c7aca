/**
 * A raw image in the making: it appears under its name only when all of it is durable, it is sparse, and nobody's file is replaced
 * unasked. What becomes of it and where its bytes come from is for others.
 */
import { type FileHandle, link, lstat, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { extentEnd, Fault } from '@backhaul/kernel';
import { dataRuns } from './data-runs.ts';

export interface RawFileOptions {
  readonly target: string;
  readonly sizeBytes: number;
  /** Replaces a target that exists; without it a target that appears meanwhile stays. */
  readonly overwrite: boolean;
}

/** `fill` writes into a file of the right size that reads as zero. When it fails, the target is as it was. */
export async function makeRawFile<T>(
  { target, sizeBytes, overwrite }: RawFileOptions,
  fill: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const partial = `${target}.partial-${process.pid}`;
  try {
    const filled = await writePartial(partial, sizeBytes, fill);
    if (overwrite) await rename(partial, target);
    else await renameIfFree(partial, target);
    await syncFolder(dirname(target));
    return filled;
  } catch (error) {
    await unlink(partial).catch(() => undefined);
    throw error;
  }
}

async function writePartial<T>(
  partial: string,
  sizeBytes: number,
  fill: (file: FileHandle) => Promise<T>,
): Promise<T> {
  await using file = await open(partial, 'wx', 0o600);
  await file.truncate(sizeBytes);
  const filled = await fill(file);
  await file.sync();
  return filled;
}

/** Throws a permanent Fault of code EEXIST where there is something: asked before work begins that would be for nothing. */
export async function refuseExisting(target: string): Promise<void> {
  const found = await lstat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new Fault(`Looking at ${target} failed`, { cause: error });
  });
  if (found !== undefined) {
    throw new Fault(`${target} exists: it is not overwritten unless asked for`, {
      permanent: true,
      code: 'EEXIST',
    });
  }
}

/** Unlike a rename, a link never replaces what appeared meanwhile. Some file systems have no links: there it is looked at again. */
async function renameIfFree(partial: string, target: string): Promise<void> {
  try {
    await link(partial, target);
    await unlink(partial);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw error;
    await refuseExisting(target);
    await rename(partial, target);
  }
}

/** Leaves out zeros where they fill whole units of the file; joins the rest into long writes. Answers what was written. */
export async function writeSparsely(file: FileHandle, offset: number, data: Uint8Array): Promise<number> {
  let written = 0;
  for (const run of dataRuns(offset, data)) {
    const end = extentEnd(run) - offset;
    for (let at = run.offset - offset; at < end; ) {
      const { bytesWritten } = await file.write(data, at, end - at, offset + at);
      at += bytesWritten;
      written += bytesWritten;
    }
  }
  return written;
}

async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r');
  await handle.sync();
}

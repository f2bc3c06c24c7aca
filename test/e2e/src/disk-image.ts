/** Disk images for end-to-end tests: made, written to as a guest would, and copied at a moment to compare with later. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { MiB } from '@backhaul/kernel';

const run = promisify(execFile);
const milliseconds = 120_000;
const formatOf = (path: string): 'qcow2' | 'raw' => (path.endsWith('.qcow2') ? 'qcow2' : 'raw');

export async function makeImage(path: string, sizeBytes: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await run('qemu-img', ['create', '-q', '-f', formatOf(path), path, String(sizeBytes)], {
    timeout: milliseconds,
  });
}

/** Random bytes, so that nothing de-duplicates by chance. `offset` and `length` in bytes. */
export async function writeRandom(path: string, offset: number, length: number): Promise<void> {
  const source = `${path}.random`;
  await writeFile(source, randomBytes(Math.min(length, 64 * MiB)));
  try {
    for (let done = 0; done < length; done += 64 * MiB) {
      const command = `write -q -s ${source} ${offset + done} ${Math.min(64 * MiB, length - done)}`;
      await run('qemu-io', ['-f', formatOf(path), '-c', command, path], { timeout: milliseconds });
    }
  } finally {
    await rm(source, { force: true });
  }
}

/** The disk as a guest sees it now, in a raw file. */
export async function copyOf(
  path: string,
  copy: string,
  { despiteLock = false }: { despiteLock?: boolean } = {},
): Promise<string> {
  const shared = despiteLock ? ['-U'] : [];
  await run('qemu-img', ['convert', ...shared, '-f', formatOf(path), '-O', 'raw', path, copy], {
    timeout: milliseconds,
  });
  return copy;
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 4 * MiB }), hash);
  return hash.digest('hex');
}

/** Bytes of the disk that are data, as its format tells them. */
export async function dataBytesOf(path: string): Promise<number> {
  const { stdout } = await run('qemu-img', ['map', '--output=json', '-f', formatOf(path), path], {
    timeout: milliseconds,
  });
  const ranges = JSON.parse(stdout) as { length: number; data: boolean }[];
  return ranges.filter(({ data }) => data).reduce((sum, { length }) => sum + length, 0);
}

/** Names of the image's bitmaps. */
export async function bitmapsOf(path: string): Promise<string[]> {
  const { stdout } = await run('qemu-img', ['info', '--output=json', path], { timeout: milliseconds });
  const info = JSON.parse(stdout) as { 'format-specific'?: { data?: { bitmaps?: { name: string }[] } } };
  return (info['format-specific']?.data?.bitmaps ?? []).map(({ name }) => name);
}

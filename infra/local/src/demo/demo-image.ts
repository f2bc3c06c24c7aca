/** The demo's source disk: an ext4 file system of real files as qcow2, or a copy of an image that somebody brings. */
import { execFile } from 'node:child_process';
import { copyFile, cp, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Fault, formatBytes, GiB } from '@backhaul/kernel';

const run = promisify(execFile);
const milliseconds = 300_000;
const IMAGE_BYTES = 1.25 * GiB;
const SBIN = '/usr/sbin:/sbin';

export interface DemoImage {
  readonly path: string;
  readonly vmId: string;
  readonly made: string;
}

/** Never works on the image that was brought: a backup adds a checkpoint to a qcow2, and the demo writes to it. */
export async function demoImage(folder: string, brought: string | undefined): Promise<DemoImage> {
  await mkdir(folder, { recursive: true });
  if (brought !== undefined) {
    const extension = extname(brought).toLowerCase();
    if (!['.qcow2', '.raw', '.img'].includes(extension)) {
      throw new Fault(`${brought} is no disk image by its name; .qcow2, .raw and .img are known`, {
        permanent: true,
      });
    }
    const vmId = basename(brought, extname(brought)).replace(/[^A-Za-z0-9_-]/g, '-');
    const path = join(folder, `${vmId}${extension}`);
    await copyFile(brought, path);
    return { path, vmId, made: `a copy of ${brought}` };
  }
  const path = join(folder, 'web-1.qcow2');
  const files = await stageFiles(folder);
  const raw = join(folder, 'web-1.ext4');
  await run('mke2fs', ['-q', '-t', 'ext4', '-L', 'demo', '-d', files, raw, `${IMAGE_BYTES / 1024}k`], {
    timeout: milliseconds,
    env: { ...process.env, PATH: `${process.env.PATH ?? ''}:${SBIN}` },
  });
  await rm(files, { recursive: true });
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path], { timeout: milliseconds });
  await rm(raw);
  return {
    path,
    vmId: 'web-1',
    made: `an ext4 file system of ${formatBytes(IMAGE_BYTES)} with this project and the packages it uses as its files`,
  };
}

/** The files of this repository and of what it depends on: real ones, of all sizes. */
async function stageFiles(folder: string): Promise<string> {
  const root = fileURLToPath(new URL('../../../../', import.meta.url));
  const staged = join(folder, 'files');
  await mkdir(staged);
  for (const name of await readdir(root)) {
    if (name.startsWith('.')) continue;
    // Links (the workspace's own packages) stay links: nothing is copied twice.
    await cp(join(root, name), join(staged, name), { recursive: true, verbatimSymlinks: true });
  }
  return staged;
}

/** What the guest does between two backups: three writes, `changedBytes` together. */
export async function changePartOf(image: DemoImage, diskBytes: number): Promise<{ changedBytes: number }> {
  const format = image.path.endsWith('.qcow2') ? 'qcow2' : 'raw';
  const writes = [
    { at: 0.1, length: 2 * 1024 * 1024, pattern: 0x5a },
    { at: 0.45, length: 256 * 1024, pattern: 0xc3 },
    { at: 0.8, length: 6 * 1024 * 1024, pattern: 0x17 },
  ];
  const args = writes.flatMap(({ at, length, pattern }) => {
    const offset = Math.floor((diskBytes * at) / 65536) * 65536;
    return ['-c', `write -q -P ${pattern} ${offset} ${length}`];
  });
  await run('qemu-io', ['-f', format, ...args, image.path], { timeout: milliseconds });
  return { changedBytes: writes.reduce((sum, { length }) => sum + length, 0) };
}

/** The disk as it is now, as a raw file made by QEMU's own tool: what restores are held against. */
export async function sourceAsItIs(image: DemoImage, copy: string): Promise<void> {
  const format = image.path.endsWith('.qcow2') ? 'qcow2' : 'raw';
  await run('qemu-img', ['convert', '-f', format, '-O', 'raw', image.path, copy], { timeout: milliseconds });
}

/** Byte for byte and of one size, by a tool that is not ours. */
export async function areEqual(
  image: string,
  copy: string,
  format: 'raw' | 'qcow2' = 'raw',
): Promise<boolean> {
  const info = await run('qemu-img', ['info', '--output=json', '-f', format, image], {
    timeout: milliseconds,
  });
  if (JSON.parse(info.stdout)['virtual-size'] !== (await stat(copy)).size) return false;
  try {
    await run('qemu-img', ['compare', '-q', '-f', format, '-F', 'raw', image, copy], {
      timeout: milliseconds,
    });
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code === 1) return false;
    throw error;
  }
}

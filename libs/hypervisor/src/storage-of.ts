/**
 * Where the bytes of a file lie, by the name that people know: the mount point of its file system, or the device itself. Two disks of one
 * storage share what it can carry. Undefined for what is no file here (an NBD export, say). Cheap: the kernel's own list is read.
 */
import { readFile, realpath, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';

export async function storageOf(path: string): Promise<string | undefined> {
  if (!isAbsolute(path)) return undefined;
  try {
    const real = await realpath(path);
    if ((await stat(real)).isBlockDevice()) return real;
    return mountPointOf(real, await readFile('/proc/self/mountinfo', 'utf8'));
  } catch {
    // Knowing it helps a choice of proxies; it must not cost a snapshot.
    return undefined;
  }
}

/** proc(5): the fifth field is the mount point, with blanks and the like as octal. The last of two mounts at one place covers the first. */
export function mountPointOf(path: string, mountinfo: string): string | undefined {
  const points = mountinfo
    .split('\n')
    .flatMap((line) => line.split(' ')[4] ?? [])
    .map((point) => point.replaceAll(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(parseInt(code, 8))));
  const holds = (point: string): boolean =>
    path === point || path.startsWith(point === '/' ? '/' : `${point}/`);
  return points
    .filter(holds)
    .reduce<string | undefined>(
      (longest, point) => (longest === undefined || point.length > longest.length ? point : longest),
      undefined,
    );
}

/** As a field that is absent where it is not known. */
export async function withStorage(path: string): Promise<{ storage?: string }> {
  const storage = await storageOf(path);
  return storage === undefined ? {} : { storage };
}

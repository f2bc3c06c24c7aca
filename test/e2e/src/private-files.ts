/** Which files and folders are anybody's to read: images of guests, their consoles and scratch files must never be. */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Under these folders, themselves included: "0644 /path". A link has no rights of its own, and what is gone meanwhile is nobody's. */
export async function openToOthers(...folders: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const folder of folders) {
    for (const name of ['', ...(await readdir(folder, { recursive: true }))]) {
      const path = join(folder, name);
      const stats = await lstat(path).catch(() => undefined);
      if (stats === undefined || stats.isSymbolicLink() || (stats.mode & 0o077) === 0) continue;
      found.push(`${(stats.mode & 0o777).toString(8).padStart(4, '0')} ${path}`);
    }
  }
  return found;
}

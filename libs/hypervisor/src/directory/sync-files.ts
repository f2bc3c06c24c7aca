/** Files as they are now outlive a power cut. What a process that was killed has written is included. */
import { open } from 'node:fs/promises';

export async function syncFiles(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const file = await open(path, 'r+');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

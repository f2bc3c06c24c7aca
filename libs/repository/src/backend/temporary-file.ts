import { type FileHandle, unlink } from 'node:fs/promises';
import { invariant } from '@backhaul/kernel';

/** A file being written, and its open handle. It ends with a name of its own or removed; either way the handle is closed. */
export class TemporaryFile {
  readonly path: string;
  readonly handle: FileHandle;
  #moved = false;
  #discarded: Promise<void> | undefined;

  constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.handle = handle;
  }

  moved(): void {
    this.#moved = true;
  }

  readonly discard = (): Promise<void> => {
    this.#discarded ??= (async () => {
      await this.handle.close();
      if (!this.#moved) await unlink(this.path).catch(() => undefined);
    })();
    return this.#discarded;
  };
}

/** A single write may write less than it was given. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written);
    invariant(bytesWritten > 0, 'A write that wrote nothing did not say why');
    written += bytesWritten;
  }
}

/**
 * Whether what lies at the location now is the repository that was opened. A folder whose file system is not mounted looks like a
 * repository that has lost everything, and takes whatever is put there: so it is asked before and after each put, and before
 * anything is said to be missing. One `stat` of the repository's file, as long as that is the same file as before.
 */
import type { Fault } from '@backhaul/kernel';
import type { LocalFolder } from './backend/local-folder.ts';
import { repositoryAway } from './faults.ts';
import { REPOSITORY_FILE } from './format/bounds.ts';
import { decodeRepositoryFile } from './format/manifest.ts';

export const REPOSITORY_FILE_BYTES_MAX = 64 * 1024;

export class Presence {
  readonly #folder: LocalFolder;
  readonly #repositoryId: string;
  #seen: string | undefined;
  #epoch = 0;

  constructor(folder: LocalFolder, repositoryId: string) {
    this.#folder = folder;
    this.#repositoryId = repositoryId;
  }

  /**
   * A number that grows whenever something else was put in the place of what was there, be it the same repository mounted again or a
   * copy of it: what was known of the files is known no more. Throws a Fault with the code `RepositoryAway`, which may mend.
   */
  async check(): Promise<number> {
    const mark = await this.#folder.markOf(REPOSITORY_FILE).catch((cause: unknown) => {
      throw this.#away('its folder does not answer', cause);
    });
    if (mark === undefined) throw this.#away(`there is no ${REPOSITORY_FILE}`);
    if (mark !== this.#seen) await this.#recognise();
    return this.#epoch;
  }

  /** A file that is not the one of before: its id decides. */
  async #recognise(): Promise<void> {
    const found = await this.#folder
      .getMarked(REPOSITORY_FILE, REPOSITORY_FILE_BYTES_MAX)
      .catch((cause: unknown) => {
        throw this.#away('its folder does not answer', cause);
      });
    if (found === undefined) throw this.#away(`there is no ${REPOSITORY_FILE}`);
    const { repositoryId } = readable(found.bytes, (cause) =>
      this.#away(`${REPOSITORY_FILE} cannot be read`, cause),
    );
    if (repositoryId !== this.#repositoryId) throw this.#away(`repository ${repositoryId} is there instead`);
    if (found.mark === this.#seen) return;
    if (this.#seen !== undefined) this.#folder.forget();
    this.#seen = found.mark;
    this.#epoch += 1;
  }

  #away(what: string, cause?: unknown): Fault {
    return repositoryAway(this.#folder.location, this.#repositoryId, what, cause);
  }
}

function readable(bytes: Uint8Array, wrong: (cause: unknown) => Fault): { readonly repositoryId: string } {
  try {
    return decodeRepositoryFile(bytes);
  } catch (cause) {
    throw wrong(cause);
  }
}

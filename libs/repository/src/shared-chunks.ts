/**
 * Chunks for somebody who goes through a disk from its start to its end. An incremental cuts its parent's chunks into pieces:
 * neighbours share one read of the chunk, as long as they are near each other.
 */
import { Recent } from './chunks/recent.ts';
import type { Repository } from './repository.ts';

export class SharedChunks {
  readonly #repository: Pick<Repository, 'readChunk'>;
  readonly #recent: Recent<Promise<Uint8Array>>;

  /** `chunksMax`: as many as are remembered, 4 MiB each. */
  constructor(repository: Pick<Repository, 'readChunk'>, chunksMax: number) {
    this.#repository = repository;
    this.#recent = new Recent(chunksMax);
  }

  /** As `readChunk`, and throws as it does. The bytes are shared: nobody changes them. */
  read(digest: string): Promise<Uint8Array> {
    const known = this.#recent.get(digest);
    if (known !== undefined) return known;
    const work = this.#repository.readChunk(digest);
    this.#recent.set(digest, work);
    work.catch(() => this.#recent.delete(digest));
    return work;
  }
}

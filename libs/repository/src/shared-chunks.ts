/**
 * Chunks for somebody who goes through a disk from its start to its end. An incremental cuts its parent's chunks into pieces:
 * neighbours share one read of the chunk, as long as they are near each other. A chunk is held while somebody has a piece of it, and
 * not for those that may come: what was let go is only looked for again, so nobody waits for memory that is kept for nothing.
 */
import { invariant } from '@backhaul/kernel';
import { Recent } from './chunks/recent.ts';
import type { HeldChunk, Repository } from './repository.ts';

export type SharedChunk = Pick<HeldChunk, 'bytes' | 'release'>;

interface Reading {
  readonly chunk: Promise<HeldChunk>;
  holders: number;
  /** Once it was read. */
  held: HeldChunk | undefined;
}

export class SharedChunks {
  readonly #repository: Pick<Repository, 'holdChunk'>;
  readonly #recent: Recent<Reading>;

  /** `chunksMax`: as many as are remembered. */
  constructor(repository: Pick<Repository, 'holdChunk'>, chunksMax: number) {
    this.#repository = repository;
    this.#recent = new Recent(chunksMax);
  }

  /** As `holdChunk`, and throws as it does. */
  async hold(digest: string): Promise<SharedChunk> {
    const known = this.#recent.get(digest);
    const reading = known !== undefined && isThere(known) ? known : this.#read(digest);
    reading.holders += 1;
    const held = await reading.chunk;
    reading.held = held;
    let isHeld = true;
    return {
      bytes: held.bytes,
      release() {
        invariant(isHeld, 'A chunk is let go once');
        isHeld = false;
        reading.holders -= 1;
        if (reading.holders === 0) held.release();
      },
    };
  }

  #read(digest: string): Reading {
    const reading: Reading = { chunk: this.#repository.holdChunk(digest), holders: 0, held: undefined };
    this.#recent.set(digest, reading);
    reading.chunk.catch(() => {
      if (this.#recent.get(digest) === reading) this.#recent.delete(digest);
    });
    return reading;
  }
}

const isThere = ({ holders, held }: Reading): boolean => holders > 0 || held?.retake() === true;

/**
 * Unpacked chunks, the ones last used, in a bounded number of bytes. A chunk that is asked for while it is being unpacked is unpacked once,
 * and no more are unpacked at a time than threads can work at: whoever comes later waits his turn. What cannot be read is not kept.
 */
import { MiB } from '@backhaul/kernel';
import { CHUNK_BYTES_MAX } from '../format/bounds.ts';
import type { Repository } from '../repository.ts';

export interface ChunkCacheOptions {
  readonly repository: Pick<Repository, 'readChunk'>;
  /** Default 256 MiB; never less than the chunks being unpacked take. */
  readonly bytesMax?: number;
  /** Unpacked at a time. Default 4. */
  readonly loadsMax?: number;
}

interface Entry {
  readonly chunk: Promise<Uint8Array>;
  /** What it takes, or may take until that is known. */
  bytes: number;
  isLoaded: boolean;
}

export class ChunkCache {
  readonly #repository: Pick<Repository, 'readChunk'>;
  readonly #bytesMax: number;
  readonly #loadsMax: number;
  /** By digest; the one used last is last. */
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: (() => void)[] = [];
  #loads = 0;
  #bytes = 0;

  constructor({ repository, bytesMax = 256 * MiB, loadsMax = 4 }: ChunkCacheOptions) {
    this.#repository = repository;
    this.#loadsMax = loadsMax;
    this.#bytesMax = Math.max(bytesMax, loadsMax * CHUNK_BYTES_MAX);
  }

  /** What is held, and what is being unpacked at its largest. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The plain bytes, checked. They are the cache's: nobody may change them. Throws as `readChunk` does. */
  get(digest: string): Promise<Uint8Array> {
    const known = this.#entries.get(digest);
    if (known !== undefined) {
      this.#entries.delete(digest);
      this.#entries.set(digest, known);
      return known.chunk;
    }
    const chunk = this.#load(digest);
    const entry: Entry = { chunk, bytes: 0, isLoaded: false };
    this.#entries.set(digest, entry);
    chunk.then(
      ({ length }) => {
        this.#bytes += length;
        entry.bytes = length;
        entry.isLoaded = true;
        this.#makeRoom(0);
      },
      () => this.#entries.delete(digest),
    );
    return chunk;
  }

  async #load(digest: string): Promise<Uint8Array> {
    if (this.#loads >= this.#loadsMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#loads += 1;
    this.#makeRoom(CHUNK_BYTES_MAX);
    this.#bytes += CHUNK_BYTES_MAX;
    try {
      return await this.#repository.readChunk(digest);
    } finally {
      this.#bytes -= CHUNK_BYTES_MAX;
      const next = this.#waiting.shift();
      if (next === undefined) this.#loads -= 1;
      else next();
    }
  }

  #makeRoom(bytes: number): void {
    for (const [digest, entry] of this.#entries) {
      if (this.#bytes + bytes <= this.#bytesMax) return;
      if (!entry.isLoaded) continue;
      this.#entries.delete(digest);
      this.#bytes -= entry.bytes;
    }
  }
}

/**
 * Unpacked chunks, the ones last used, in a bounded number of bytes. A chunk that is asked for while it is being unpacked is unpacked once,
 * and no more are unpacked at a time than threads can work at: whoever comes later waits his turn. What cannot be read is not kept.
 *
 * What is let go of is given back to the system at once, and not when the collector comes by: it knows little of memory outside its heap, and
 * a mount that was read from end to end had 640 MiB resident for a cache of 256.
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
  readonly loading: Promise<Uint8Array<ArrayBuffer>>;
  /** Once it was loaded. */
  chunk: Uint8Array<ArrayBuffer> | undefined;
  /** Of those who wait for it or look at it now. */
  users: number;
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

  /**
   * What `look` makes of the plain bytes, which were checked. They are the cache's: to be looked at there and then, and not kept. Throws as
   * `readChunk` does.
   */
  async use<T>(digest: string, look: (chunk: Uint8Array) => T): Promise<T> {
    const entry = this.#entries.get(digest) ?? this.#begin(digest);
    this.#entries.delete(digest);
    this.#entries.set(digest, entry);
    entry.users += 1;
    try {
      return look(entry.chunk ?? (await entry.loading));
    } finally {
      entry.users -= 1;
    }
  }

  #begin(digest: string): Entry {
    const entry: Entry = { loading: this.#load(digest), chunk: undefined, users: 0 };
    entry.loading.then(
      (chunk) => {
        entry.chunk = chunk;
        this.#bytes += chunk.length;
        this.#makeRoom(0);
      },
      () => this.#entries.delete(digest),
    );
    return entry;
  }

  async #load(digest: string): Promise<Uint8Array<ArrayBuffer>> {
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
      if (entry.chunk === undefined || entry.users > 0) continue;
      this.#entries.delete(digest);
      this.#bytes -= entry.chunk.length;
      entry.chunk.buffer.transfer(0);
    }
  }
}

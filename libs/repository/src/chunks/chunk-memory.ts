/**
 * The memory of the data path: a fixed number of buffers, each for one chunk file, that this process' threads share.
 * Whoever finds none waits, first come first served, so memory is bounded whatever the number of jobs or the size of the disks.
 *
 * Two properties of this memory were worth having (4 GiB, a third random, a third text; processor seconds of the whole path):
 * - It is shared, not transferred: with an ArrayBuffer handed to and fro for each chunk, the collector ran all the time,
 *   because every arrival looked like 4 MiB of new garbage: 5.9 of 24 seconds.
 * - It begins at a page, which only WebAssembly's memory promises, so that a file can be written past the page cache
 *   (backend/local-folder.ts): writing costs a fifth of the processor time, and a backup does not push out what others keep there.
 */
/// <reference path="./web-assembly.d.ts" />
import { Fault, invariant, KiB } from '@backhaul/kernel';
import { CHUNK_BYTES_MAX } from '../format/bounds.ts';
import { CHUNK_HEADER_BYTES } from '../format/chunk-file.ts';
import type { ChunkBuffer } from '../repository.ts';

export const PAGE_BYTES = 4 * KiB;
/** The plain bytes lie where the body of a stored chunk file lies: behind a header, and with room up to the end of a page. */
const SLOT_BYTES = CHUNK_BYTES_MAX + PAGE_BYTES;
const WEB_ASSEMBLY_PAGE_BYTES = 64 * KiB;

export type SharedBytes = Uint8Array<SharedArrayBuffer>;

/** The whole file of a slot, for the thread that has the memory. */
export const slotOf = (memory: SharedArrayBuffer, slot: number): SharedBytes =>
  new Uint8Array(memory, slot * SLOT_BYTES, SLOT_BYTES);

export class Slot implements ChunkBuffer {
  readonly slot: number;
  /** Header, body, and room to the end of the last page. */
  readonly file: SharedBytes;
  readonly bytes: SharedBytes;
  readonly #give: (slot: Slot) => void;
  isTaken = false;

  constructor(memory: SharedArrayBuffer, slot: number, give: (slot: Slot) => void) {
    this.slot = slot;
    this.file = slotOf(memory, slot);
    this.bytes = this.file.subarray(CHUNK_HEADER_BYTES, CHUNK_HEADER_BYTES + CHUNK_BYTES_MAX);
    this.#give = give;
  }

  release(): void {
    invariant(this.isTaken, 'A buffer is given back once');
    this.isTaken = false;
    this.#give(this);
  }
}

export class ChunkMemory {
  readonly memory: SharedArrayBuffer;
  readonly #free: Slot[];
  readonly #waiting: PromiseWithResolvers<Slot>[] = [];
  #closed = false;

  /** Costs nothing before it is filled: the system gives each page when it is first written to. */
  constructor(buffers: number) {
    const pages = Math.ceil((buffers * SLOT_BYTES) / WEB_ASSEMBLY_PAGE_BYTES);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer;
    // The lowest is taken first: what was never needed is never touched.
    this.#free = Array.from(
      { length: buffers },
      (_, index) => new Slot(this.memory, buffers - 1 - index, (slot) => this.#give(slot)),
    );
  }

  async take(): Promise<Slot> {
    if (this.#closed) throw new Fault('The repository was closed');
    const free = this.#free.pop();
    if (free !== undefined) {
      free.isTaken = true;
      return free;
    }
    const waiting = Promise.withResolvers<Slot>();
    this.#waiting.push(waiting);
    return await waiting.promise;
  }

  /** Nobody waits for ever. */
  close(): void {
    this.#closed = true;
    for (const { reject } of this.#waiting.splice(0)) reject(new Fault('The repository was closed'));
  }

  #give(slot: Slot): void {
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#free.push(slot);
      return;
    }
    slot.isTaken = true;
    next.resolve(slot);
  }
}

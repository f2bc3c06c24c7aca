/**
 * The memory of the data path: a fixed number of buffers, each for one chunk file, that this process' threads share.
 * Whoever finds none waits, first come first served, so memory is bounded whatever the number of jobs or the size of the disks.
 *
 * Nobody who has one waits for another, so that with any number of buffers all get on. Who has how many:
 * - whoever fills and puts a chunk (a lane of ingest): one, from before the first byte is read until the chunk's file is durable;
 * - whoever holds a chunk (a lane of export, or of restoreDisk): one, or a share of one, from before the file is read until the piece
 *   is written or compared, and not while it is confirmed;
 * - `readChunk` and what is built on it (the mount's cache, verify, newestWhole): none.
 * Where the file system hangs, a buffer stays with the call that does not come back, and whoever had it is free of it.
 * A chunk that was let go stays in its buffer until somebody needs the memory, the longest ago first, and can be had again until then.
 *
 * Two properties of this memory were worth having (4 GiB, a third random, a third text; processor seconds of the whole path):
 * - It is shared, not transferred: with an ArrayBuffer handed to and fro for each chunk, the collector ran all the time,
 *   because every arrival looked like 4 MiB of new garbage: 5.9 of 24 seconds.
 * - It begins at a page, which only WebAssembly's memory promises, so that a file can be written past the page cache
 *   (backend/local-folder.ts): writing costs a fifth of the processor time, and a backup does not push out what others keep there.
 */
/// <reference path="./web-assembly.d.ts" />
import { Fault, invariant, KiB } from '@backhaul/kernel';
import { FAILING } from '../faults.ts';
import { CHUNK_BYTES_MAX } from '../format/bounds.ts';
import { CHUNK_HEADER_BYTES } from '../format/chunk-file.ts';
import type { ChunkBuffer, HeldChunk } from '../repository.ts';

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
  readonly #owner: SlotOwner;
  #kept: Promise<void> | undefined;
  isTaken = false;

  constructor(memory: SharedArrayBuffer, slot: number, owner: SlotOwner) {
    this.slot = slot;
    this.file = slotOf(memory, slot);
    this.bytes = this.file.subarray(CHUNK_HEADER_BYTES, CHUNK_HEADER_BYTES + CHUNK_BYTES_MAX);
    this.#owner = owner;
  }

  /** Whoever has it next gets it when that resolves, however early it is released. */
  keepUntil(settled: Promise<void>): void {
    invariant(this.isTaken, 'A buffer is kept by who has taken it');
    this.#kept = settled;
    this.#owner.kept(1);
  }

  release(): void {
    invariant(this.isTaken, 'A buffer is given back once');
    this.isTaken = false;
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept === undefined) this.#owner.give(this);
    else
      void kept.then(() => {
        this.#owner.kept(-1);
        this.#owner.give(this);
      });
  }
}

interface SlotOwner {
  give(slot: Slot): void;
  /** One more, or one less, is kept for a call that hangs. */
  kept(change: 1 | -1): void;
}

/** A slot that has the plain bytes of a chunk. */
export class HeldSlot implements HeldChunk {
  readonly slot: Slot;
  readonly bytes: SharedBytes;
  readonly #memory: ChunkMemory;
  #isHeld = true;

  /** Who made it has taken the slot, and leaves it to this. */
  constructor(memory: ChunkMemory, slot: Slot, length: number) {
    this.#memory = memory;
    this.slot = slot;
    this.bytes = slot.bytes.subarray(0, length);
  }

  release(): void {
    invariant(this.#isHeld, 'A chunk is let go once');
    this.#isHeld = false;
    this.#memory.letGo(this);
  }

  retake(): boolean {
    invariant(!this.#isHeld, 'A chunk that is held cannot be held again');
    this.#isHeld = this.#memory.retake(this);
    return this.#isHeld;
  }
}

export class ChunkMemory {
  readonly memory: SharedArrayBuffer;
  /** Hold nothing that anybody would want again. */
  readonly #free: Slot[];
  /** Free as well, with the chunk that they had; the one that was let go first comes first. */
  readonly #letGo = new Set<HeldSlot>();
  readonly #waiting: PromiseWithResolvers<Slot>[] = [];
  readonly #buffers: number;
  #kept = 0;
  #closed = false;

  /** Costs nothing before it is filled: the system gives each page when it is first written to. */
  constructor(buffers: number) {
    this.#buffers = buffers;
    const owner: SlotOwner = {
      give: (slot) => this.#give(slot),
      kept: (change) => {
        this.#kept += change;
        if (this.#kept === buffers) for (const { reject } of this.#waiting.splice(0)) reject(allKept());
      },
    };
    const pages = Math.ceil((buffers * SLOT_BYTES) / WEB_ASSEMBLY_PAGE_BYTES);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer;
    // The lowest is taken first: what was never needed is never touched.
    this.#free = Array.from(
      { length: buffers },
      (_, index) => new Slot(this.memory, buffers - 1 - index, owner),
    );
  }

  /** Throws a Fault with the code `RepositoryFailing` while all are kept for calls that hang. */
  async take(): Promise<Slot> {
    if (this.#closed) throw new Fault('The repository was closed');
    if (this.#kept === this.#buffers) throw allKept();
    const free = this.#free.pop() ?? this.#letGoFirst();
    if (free !== undefined) {
      free.isTaken = true;
      return free;
    }
    const waiting = Promise.withResolvers<Slot>();
    this.#waiting.push(waiting);
    return await waiting.promise;
  }

  letGo(held: HeldSlot): void {
    held.slot.isTaken = false;
    if (this.#waiting.length > 0) this.#give(held.slot);
    else this.#letGo.add(held);
  }

  /** False when the memory has been needed since. Passes nobody who waits: while somebody does, nothing is let go but to them. */
  retake(held: HeldSlot): boolean {
    if (!this.#letGo.delete(held)) return false;
    held.slot.isTaken = true;
    return true;
  }

  /** Nobody waits for ever. */
  close(): void {
    this.#closed = true;
    this.#letGo.clear();
    for (const { reject } of this.#waiting.splice(0)) reject(new Fault('The repository was closed'));
  }

  #letGoFirst(): Slot | undefined {
    for (const held of this.#letGo) {
      this.#letGo.delete(held);
      return held.slot;
    }
    return undefined;
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

const allKept = (): Fault =>
  new Fault('All buffers are held by calls that have had no answer: the file system hangs', {
    code: FAILING,
  });

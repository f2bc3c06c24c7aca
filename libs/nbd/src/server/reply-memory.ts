/**
 * The memory of one connection's replies, used again and again: new memory for each would be garbage of the size of everything that is read,
 * and collecting it cost as much as unpacking it. Bounded: what is too much is left to the collector.
 */
import type { TakeMemory } from './export.ts';

const SMALLEST_BYTES = 4096;

export class ReplyMemory {
  readonly #bytesMax: number;
  /** By size, a power of two. */
  readonly #free = new Map<number, Uint8Array[]>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** For one reply. `give` when it was sent, and nobody who took of it may still write: so not after a failure. */
  lend(): { readonly take: TakeMemory; readonly give: () => void } {
    const taken: Uint8Array[] = [];
    return {
      take: (bytes) => {
        const memory = this.#take(2 ** Math.ceil(Math.log2(Math.max(bytes, SMALLEST_BYTES))));
        taken.push(memory);
        return memory.subarray(0, bytes);
      },
      give: () => {
        for (const memory of taken.splice(0)) this.#give(memory);
      },
    };
  }

  #take(size: number): Uint8Array {
    const memory = this.#free.get(size)?.pop();
    if (memory === undefined) return Buffer.allocUnsafeSlow(size);
    this.#bytes -= size;
    return memory;
  }

  #give(memory: Uint8Array): void {
    const size = memory.length;
    if (this.#bytes + size > this.#bytesMax) return;
    this.#bytes += size;
    const free = this.#free.get(size);
    if (free === undefined) this.#free.set(size, [memory]);
    else free.push(memory);
  }
}

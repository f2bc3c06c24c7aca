/**
 * The memory of the data path: a fixed number of chunk-sized buffers that all child jobs of this process share. Whoever finds
 * none waits, so memory is bounded whatever the number of jobs or the size of the disks.
 */
import { CHUNK_BYTES } from '@backhaul/contracts';

export type Buffer4M = Uint8Array<ArrayBuffer>;

export class BufferPool {
  readonly #free: Buffer4M[] = [];
  readonly #waiting: ((buffer: Buffer4M) => void)[] = [];
  #unmade: number;

  constructor(count: number) {
    this.#unmade = count;
  }

  /** A buffer of 4 MiB with any contents. */
  async take(): Promise<Buffer4M> {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#unmade > 0) {
      this.#unmade -= 1;
      return new Uint8Array(CHUNK_BYTES);
    }
    return await new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Undefined: the buffer was lost on its way (a worker died with it), and a new one takes its place. */
  give(buffer: Buffer4M | undefined): void {
    const whole =
      buffer === undefined || buffer.buffer.byteLength !== CHUNK_BYTES
        ? undefined
        : new Uint8Array(buffer.buffer);
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) waiting(whole ?? new Uint8Array(CHUNK_BYTES));
    else if (whole !== undefined) this.#free.push(whole);
    else this.#unmade += 1;
  }
}

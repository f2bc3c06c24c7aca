/**
 * Work side by side, in order where order matters: jobs of one lane run one after another as they came, jobs of different lanes
 * together, never more than `width` at a time.
 */
import { Semaphore } from './semaphore.ts';

export class Lanes {
  readonly #slots: Semaphore;
  readonly #tails = new Map<string, Promise<void>>();

  constructor(width: number) {
    this.#slots = new Semaphore(width);
  }

  /** Resolves when the job has run; the job must not reject. */
  run(lane: string, job: () => Promise<void>): Promise<void> {
    const turn = (this.#tails.get(lane) ?? Promise.resolve()).then(async () => {
      await this.#slots.acquire();
      try {
        await job();
      } finally {
        this.#slots.release();
        if (this.#tails.get(lane) === turn) this.#tails.delete(lane);
      }
    });
    this.#tails.set(lane, turn);
    return turn;
  }
}

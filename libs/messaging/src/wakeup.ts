/**
 * A bell for one who polls. Take `next()` before looking, then wait on it: a ring in between is not missed.
 */
export interface Ring {
  /** Resolves at the ring, when the time is up, or when the signal aborts. Never rejects. */
  within(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export class Wakeup {
  #rings = 0;
  readonly #listening = new Set<() => void>();

  ring(): void {
    this.#rings += 1;
    for (const wake of this.#listening) wake();
  }

  next(): Ring {
    const heard = this.#rings;
    return {
      within: async (milliseconds, signal) => {
        if (this.#rings !== heard || signal.aborted) return;
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            clearTimeout(timer);
            signal.removeEventListener('abort', wake);
            this.#listening.delete(wake);
            resolve();
          };
          const timer = setTimeout(wake, milliseconds);
          signal.addEventListener('abort', wake);
          this.#listening.add(wake);
        });
      },
    };
  }
}

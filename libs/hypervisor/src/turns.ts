/**
 * One at a time per key, within this process: two steps that touch the same VM or the same proxy never interleave.
 * Steps of different keys run side by side.
 */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    // The one before may fail: that is its caller's affair.
    const mine = before.then(work, work);
    const settled = mine.catch(() => undefined);
    this.#last.set(key, settled);
    try {
      return await mine;
    } finally {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    }
  }

  /** Whether somebody has the turn, or waits for it. */
  isTaken(key: string): boolean {
    return this.#last.has(key);
  }

  /** As `take`, for who would rather leave than wait longer than this for the turn: undefined then, and `work` is never begun. */
  async takeWithin<T>(
    key: string,
    milliseconds: number,
    work: () => Promise<T>,
  ): Promise<{ readonly value: T } | undefined> {
    let stands: 'waiting' | 'begun' | 'left' = 'waiting';
    const turn = this.take(key, async () => {
      if (stands === 'left') return undefined;
      stands = 'begun';
      return { value: await work() };
    });
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => {
        if (stands === 'begun') return;
        stands = 'left';
        resolve(undefined);
      }, milliseconds);
    });
    try {
      return await Promise.race([turn, tooLong]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Ranges of blocks that one writer at a time may change; those that do not touch go side by side, the others in the order of coming. */
export interface BlockRange {
  readonly from: number;
  readonly to: number;
}

export class RangeLocks {
  readonly #held: { readonly range: BlockRange; readonly released: Promise<void> }[] = [];

  async hold<T>(range: BlockRange, work: () => Promise<T>): Promise<T> {
    const before = this.#held
      .filter(({ range: other }) => other.from < range.to && range.from < other.to)
      .map(({ released }) => released);
    const { promise: released, resolve } = Promise.withResolvers<void>();
    const entry = { range, released };
    this.#held.push(entry);
    try {
      await Promise.all(before);
      return await work();
    } finally {
      this.#held.splice(this.#held.indexOf(entry), 1);
      resolve();
    }
  }
}

/**
 * What waits to be handled, handed out in batches. While one batch is at work the next one gathers, so batches are small when there
 * is little to do, and grow under load by themselves. Items of one lane are handled in the order in which they came: a lane is
 * never in two batches at work, and in one batch either once (`oneOfEachLane`) or in its order.
 */
export interface BatchesOptions<Item> {
  readonly sizeMax: number;
  /** Batches at work at a time. */
  readonly atOnce: number;
  readonly oneOfEachLane: boolean;
  laneOf(item: Item): string;
  /** Must not reject. */
  run(batch: readonly Item[]): Promise<void>;
}

interface Waiting<Item> {
  readonly lane: string;
  readonly item: Item;
}

export class Batches<Item> {
  readonly #options: BatchesOptions<Item>;
  readonly #busy = new Set<string>();
  #waiting: Waiting<Item>[] = [];
  #underWay = 0;
  #due = false;

  constructor(options: BatchesOptions<Item>) {
    this.#options = options;
  }

  add(item: Item): void {
    this.#waiting.push({ lane: this.#options.laneOf(item), item });
    if (this.#due) return;
    this.#due = true;
    // Not at once: what came in the same packet belongs together.
    setImmediate(() => {
      this.#due = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    const { atOnce, run } = this.#options;
    while (this.#underWay < atOnce && this.#waiting.length > 0) {
      const batch = this.#take();
      if (batch.length === 0) return;
      const lanes = new Set(batch.map(({ lane }) => lane));
      for (const lane of lanes) this.#busy.add(lane);
      this.#underWay += 1;
      void run(batch.map(({ item }) => item)).then(() => {
        for (const lane of lanes) this.#busy.delete(lane);
        this.#underWay -= 1;
        this.#dispatch();
      });
    }
  }

  #take(): Waiting<Item>[] {
    const { sizeMax, oneOfEachLane } = this.#options;
    const closed = new Set(this.#busy);
    const batch: Waiting<Item>[] = [];
    const left: Waiting<Item>[] = [];
    for (const entry of this.#waiting) {
      if (batch.length < sizeMax && !closed.has(entry.lane)) {
        batch.push(entry);
        if (oneOfEachLane) closed.add(entry.lane);
      } else {
        left.push(entry);
        // A later one of its lane must not overtake it.
        closed.add(entry.lane);
      }
    }
    this.#waiting = left;
    return batch;
  }
}

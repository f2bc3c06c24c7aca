/** What will happen, earliest first; of things at the same instant, in the order in which they were added: a binary heap. */
interface Entry<Thing> {
  readonly at: number;
  readonly number: number;
  readonly thing: Thing;
}

export class Agenda<Thing> {
  readonly #entries: Entry<Thing>[] = [];
  #added = 0;

  /** The instant of the earliest thing. */
  get next(): number | undefined {
    return this.#entries[0]?.at;
  }

  add(at: number, thing: Thing): void {
    const entries = this.#entries;
    const entry = { at, number: this.#added, thing };
    this.#added += 1;
    let index = entries.length;
    entries.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = entries[parent] as Entry<Thing>;
      if (comesBefore(above, entry)) break;
      entries[index] = above;
      index = parent;
    }
    entries[index] = entry;
  }

  /** The earliest thing, if it is due by then. */
  take(by: number): Thing | undefined {
    const first = this.#entries[0];
    if (first === undefined || first.at > by) return undefined;
    const last = this.#entries.pop() as Entry<Thing>;
    if (this.#entries.length > 0) this.#sink(last);
    return first.thing;
  }

  #sink(entry: Entry<Thing>): void {
    const entries = this.#entries;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const [left, right] = [entries[child], entries[child + 1]];
      if (left === undefined) break;
      if (right !== undefined && comesBefore(right, left)) child += 1;
      const below = entries[child] as Entry<Thing>;
      if (comesBefore(entry, below)) break;
      entries[index] = below;
      index = child;
    }
    entries[index] = entry;
  }
}

const comesBefore = <Thing>(a: Entry<Thing>, b: Entry<Thing>): boolean =>
  a.at < b.at || (a.at === b.at && a.number < b.number);

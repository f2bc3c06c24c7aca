/**
 * Which bytes of a read have arrived. Chunks come in any order; a byte that comes twice, or never, is how a wrong disk would
 * be read without an error. Source: doc/proto.md, `NBD_CMD_READ`: "MUST NOT send content chunks that overlap" and "MUST
 * send enough data chunks to cover the entire region".
 */
export class Coverage {
  readonly #length: number;
  /** Sorted, apart from each other, neighbours joined: [start, end, start, end ...]. One pair when chunks come in order. */
  readonly #bounds: number[] = [];

  constructor(length: number) {
    this.#length = length;
  }

  /** False when the range leaves the region, is empty, or overlaps what was added before; then nothing is added. */
  add(start: number, length: number): boolean {
    const end = start + length;
    if (length <= 0 || start < 0 || end > this.#length) return false;
    const bounds = this.#bounds;
    // The first bound beyond `start`: even when `start` lies between ranges, odd when inside one.
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((bounds[middle] as number) > start) high = middle;
      else low = middle + 1;
    }
    if (low % 2 === 1) return false;
    if (low < bounds.length && (bounds[low] as number) < end) return false;

    const joinsBefore = low > 0 && bounds[low - 1] === start;
    const joinsAfter = low < bounds.length && bounds[low] === end;
    if (joinsBefore && joinsAfter) bounds.splice(low - 1, 2);
    else if (joinsBefore) bounds[low - 1] = end;
    else if (joinsAfter) bounds[low] = start;
    else bounds.splice(low, 0, start, end);
    return true;
  }

  get isComplete(): boolean {
    return this.#length === 0 || (this.#bounds[0] === 0 && this.#bounds[1] === this.#length);
  }
}

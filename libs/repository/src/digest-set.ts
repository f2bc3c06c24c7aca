/**
 * A set of digests that takes 8 bytes for each (and half as much again for its free places): millions fit where strings
 * would not. It keeps the first 64 bits, so two digests may be taken for one with a chance of n² / 2^65: for a
 * repository of 100 million chunks, 1 in 3,700 that a single chunk is passed over.
 */
export class DigestSet {
  #size = 0;
  #places: Uint32Array<ArrayBuffer>;

  constructor(places = 1024) {
    this.#places = new Uint32Array(places * 2);
  }

  get size(): number {
    return this.#size;
  }

  /** True when it was not in the set. */
  add(digest: string): boolean {
    if (this.#size * 3 > this.#places.length) this.#grow();
    // All zero bits mean a free place.
    const high = Number.parseInt(digest.slice(0, 8), 16);
    const low = Number.parseInt(digest.slice(8, 16), 16) || 1;
    if (!insert(this.#places, high, low)) return false;
    this.#size += 1;
    return true;
  }

  #grow(): void {
    const larger = new Uint32Array(this.#places.length * 2);
    for (let i = 0; i < this.#places.length; i += 2) {
      const low = this.#places[i + 1] ?? 0;
      if (low !== 0) insert(larger, this.#places[i] ?? 0, low);
    }
    this.#places = larger;
  }
}

/** Open addressing: the digest's own bits are as random as any hash of them. */
function insert(places: Uint32Array<ArrayBuffer>, high: number, low: number): boolean {
  const count = places.length / 2;
  for (let place = high % count; ; place = (place + 1) % count) {
    const found = places[place * 2 + 1];
    if (found === 0) {
      places[place * 2] = high;
      places[place * 2 + 1] = low;
      return true;
    }
    if (found === low && places[place * 2] === high) return false;
  }
}

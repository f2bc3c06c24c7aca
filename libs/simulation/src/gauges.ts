/** What was in use over the day: each gauge's average over every stretch of time, exact, and its highest value. */
export const GAUGES = [
  'portsInUse',
  'portsUp',
  'proxiesUp',
  'directStreams',
  'runsWaiting',
  'runsOpen',
  'bytesPerSecond',
] as const;
export type Gauge = (typeof GAUGES)[number];

export class Gauges {
  readonly #start: number;
  readonly #bucketMilliseconds: number;
  readonly #values: Record<Gauge, number>;
  readonly #peaks: Record<Gauge, number>;
  /** Value times milliseconds, in each stretch. */
  readonly #areas: Record<Gauge, Float64Array>;
  #now: number;

  constructor(start: number, end: number, bucketMilliseconds: number) {
    this.#start = start;
    this.#now = start;
    this.#bucketMilliseconds = bucketMilliseconds;
    const buckets = Math.ceil((end - start) / bucketMilliseconds) + 1;
    const forEach = <Value>(make: () => Value) =>
      Object.fromEntries(GAUGES.map((gauge) => [gauge, make()])) as Record<Gauge, Value>;
    this.#values = forEach(() => 0);
    this.#peaks = forEach(() => 0);
    this.#areas = forEach(() => new Float64Array(buckets));
  }

  get(gauge: Gauge): number {
    return this.#values[gauge];
  }

  set(gauge: Gauge, value: number): void {
    this.#values[gauge] = value;
    if (value > this.#peaks[gauge]) this.#peaks[gauge] = value;
  }

  add(gauge: Gauge, change: number): void {
    this.set(gauge, this.#values[gauge] + change);
  }

  advance(now: number): void {
    while (this.#now < now) {
      const bucket = Math.floor((this.#now - this.#start) / this.#bucketMilliseconds);
      const until = Math.min(now, this.#start + (bucket + 1) * this.#bucketMilliseconds);
      for (const gauge of GAUGES) {
        const area = this.#areas[gauge];
        area[bucket] = (area[bucket] ?? 0) + this.#values[gauge] * (until - this.#now);
      }
      this.#now = until;
    }
  }

  areaOf(gauge: Gauge): Float64Array {
    return this.#areas[gauge];
  }

  peakOf(gauge: Gauge): number {
    return this.#peaks[gauge];
  }
}

/**
 * Notices a consumer that the server has forgotten to serve: messages wait, room is there, and nothing is delivered to
 * anybody for too long. Seen with JetStream after restarts; a consumer made anew goes on.
 */
export interface ConsumerSample {
  /** Messages of the stream not delivered yet. */
  readonly pending: number;
  /** Deliveries out and not acknowledged, over all instances. */
  readonly outstanding: number;
  /** Counts every delivery to anybody. */
  readonly delivered: number;
}

export class Watchdog {
  readonly #silentMilliseconds: number;
  readonly #outstandingMax: number;
  #delivered = -1;
  #since = 0;

  constructor(silentMilliseconds: number, outstandingMax: number) {
    this.#silentMilliseconds = silentMilliseconds;
    this.#outstandingMax = outstandingMax;
  }

  /** True when the consumer should be made anew. */
  isStuck(sample: ConsumerSample, now: number): boolean {
    const waits = sample.pending > 0 && sample.outstanding < this.#outstandingMax;
    if (!waits || sample.delivered !== this.#delivered) {
      this.#delivered = sample.delivered;
      this.#since = now;
      return false;
    }
    return now - this.#since >= this.#silentMilliseconds;
  }
}

/**
 * What this process remembers of the messages it could not handle yet. Deliveries are no measure of a message's own failures: they count
 * waiting for a database that is away, stops, and time that ran out, too. So the failures that are a message's own are counted here, for
 * as long as the process lives; another process counts for itself.
 */
export interface Failed {
  /** Of its own, in this process. */
  readonly failures: number;
  /** The delivery at which this process first failed at it, and lived on. */
  readonly survivedFrom: number;
}

export class Failures {
  readonly #remembered = new Map<string, Failed & { readonly delivery: number }>();
  readonly #max: number;

  /** `max`: as many messages as can be out at a time. Beyond that the one that failed longest ago is forgotten: it was settled elsewhere. */
  constructor(max: number) {
    this.#max = max;
  }

  /** One more, unless it was nothing of the message's own. `delivery` counts from 1. */
  note(key: string, delivery: number, isOwn: boolean): Failed {
    const known = this.#remembered.get(key);
    // Deliveries of one copy only rise: this is another, of a letter that was sent again, or from a NATS that was filled again.
    const before = known !== undefined && delivery > known.delivery ? known : undefined;
    const failed = {
      failures: (before?.failures ?? 0) + (isOwn ? 1 : 0),
      survivedFrom: before?.survivedFrom ?? delivery,
    };
    this.#remembered.delete(key);
    this.#remembered.set(key, { ...failed, delivery });
    if (this.#remembered.size > this.#max)
      for (const oldest of this.#remembered.keys()) {
        this.#remembered.delete(oldest);
        break;
      }
    return failed;
  }

  forget(key: string): void {
    this.#remembered.delete(key);
  }
}

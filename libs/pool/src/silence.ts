/**
 * Who did not answer when the host looked, and for how long that has been so. Pure. A look that gets no answer says little: storage
 * stalls, machines are busy. Only looks that agree, in a row and far enough apart, make a loss of it. One that could not ask
 * neither adds to a silence nor ends it.
 */
import type { Sighting } from '@backhaul/contracts';

/** Since when, in milliseconds since the epoch, by key. Kept by whoever looks; lost with it, it is seen again. */
export type Silences = ReadonlyMap<string, number>;

export interface Heard {
  readonly verdict: 'alive' | 'gone' | 'undecided';
  /** Of one that is given up for its silence; else 0. */
  readonly silentSeconds: number;
}

const undecided: Heard = { verdict: 'undecided', silentSeconds: 0 };

export class SilenceWatch {
  readonly #before: Silences;
  readonly #now: number;
  /** What the next look is to be given: only of what this one asked for. */
  readonly silences = new Map<string, number>();

  constructor(before: Silences, now: number) {
    this.#before = before;
    this.#now = now;
  }

  /** `patienceMilliseconds`: between the first look that got no answer and the one that makes a loss of it. */
  hears(key: string, state: Sighting, patienceMilliseconds: number): Heard {
    if (state === 'alive' || state === 'gone') return { verdict: state, silentSeconds: 0 };
    const since = this.#before.get(key);
    if (state === 'silent' && since !== undefined && this.#now - since >= patienceMilliseconds) {
      return { verdict: 'gone', silentSeconds: Math.round((this.#now - since) / 1000) };
    }
    if (state === 'silent' || since !== undefined) this.silences.set(key, since ?? this.#now);
    return undecided;
  }
}

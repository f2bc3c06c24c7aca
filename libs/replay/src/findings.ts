/** What a replay finds: how much was derived again, what could not be and why, and where recorded and derived part. */
import type { Event } from '@backhaul/contracts';

/** What is derived again, by where it comes from. */
export const KINDS = [
  'plan',
  'shadow',
  'look',
  'news',
  'confirmation',
  'drift',
  'given-up',
  'registration',
] as const;
export type Kind = (typeof KINDS)[number];

/** The first of a stream: behind it the same cause may show again and again. */
export interface Difference {
  readonly kind: Kind | 'hole';
  /** Of the first event that is concerned. */
  readonly position: number;
  readonly stream: string;
  readonly version: number;
  readonly what: string;
  readonly recorded: readonly Event[];
  readonly derived: readonly Event[];
  /** The two sides against each other, for people. */
  readonly lines: readonly string[];
}

export interface Tally {
  checked: number;
  /** By reason. */
  readonly notCheckable: Map<string, number>;
}

export interface Report {
  readonly events: number;
  readonly tallies: Readonly<Record<Kind, Tally>>;
  /** Types that this release does not know, and how often they were passed over. */
  readonly unknownTypes: ReadonlyMap<string, number>;
  readonly differences: readonly Difference[];
  /** More in the same streams, behind the first of each. */
  readonly further: number;
}

export class Findings {
  readonly tallies = Object.fromEntries(
    KINDS.map((kind) => [kind, { checked: 0, notCheckable: new Map<string, number>() }]),
  ) as Record<Kind, Tally>;
  readonly #first = new Map<string, Difference>();
  #further = 0;

  checked(kind: Kind): void {
    this.tallies[kind].checked += 1;
  }

  notCheckable(kind: Kind, reason: string): void {
    const { notCheckable } = this.tallies[kind];
    notCheckable.set(reason, (notCheckable.get(reason) ?? 0) + 1);
  }

  differs(difference: Difference): void {
    if (this.#first.has(difference.stream)) this.#further += 1;
    else this.#first.set(difference.stream, difference);
  }

  report(counts: Pick<Report, 'events' | 'unknownTypes'>): Report {
    const differences = [...this.#first.values()].sort((a, b) => a.position - b.position);
    return { ...counts, tallies: this.tallies, differences, further: this.#further };
  }
}

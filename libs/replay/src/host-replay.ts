/**
 * One host's stream, append by append: each is decided again on the pool that the events before it make, and held against what was
 * recorded; then the recorded one is folded, as it happened. What the world said (a snapshot was taken, a proxy is gone) cannot be
 * decided again; that the pool had asked for it can.
 */
import type { Event } from '@backhaul/contracts';
import { describeError } from '@backhaul/kernel';
import {
  emptyPool,
  evolve,
  type Occasion,
  type Pool,
  poolNews,
  readOccasion,
  subjectOf,
} from '@backhaul/pool';
import { type Comparison, compareDerived, lacks } from './compare.ts';
import { decideAgain, type News } from './decide-again.ts';
import type { Findings, Kind } from './findings.ts';
import type { Logged } from './logged.ts';
import { Recent } from './recent.ts';

/** News that led to nothing yet: of runs that are open. */
const NEWS_MAX = 50_000;
const OLD = 'recorded before the log said on what occasion a pool decided';
const CAUSE_MISSING = 'the news that led to it is not in this log';
const MISSING = 'events of the stream are missing';
const HOLE: Comparison = {
  recorded: [],
  derived: [],
  lines: ['the version before it in its stream is not in this log'],
};
const UNFOLDED = 'the stream is not whole before it in this log';

export class HostReplay {
  readonly #hostId: string;
  readonly #findings: Findings;
  readonly #news = new Recent<News>(NEWS_MAX);
  /** Ids of news by what it is about. */
  readonly #about = new Map<string, Set<string>>();
  #pool: Pool;
  /** Of the newest event that was taken, known to this release or not. */
  #version = 0;
  /** Events of one append, as they come. */
  #append: Logged[] = [];
  /** Versions that are missing before or within that append. */
  #missing = 0;
  /** What the pool was from here on is not known. */
  #broken = false;

  constructor(hostId: string, findings: Findings) {
    this.#hostId = hostId;
    this.#findings = findings;
    this.#pool = emptyPool(hostId);
  }

  /** What another service tells this host. */
  hear(news: News): void {
    const subject = subjectOf(news.data);
    this.#news.set(news.eventId, news);
    const ids = this.#about.get(subject) ?? new Set();
    this.#about.set(subject, ids.add(news.eventId));
  }

  take(event: Logged): void {
    const goesOn = this.#append[0] !== undefined && isOneAppend(this.#append[0], event);
    if (!goesOn) this.close();
    this.#missing += event.version - this.#version - 1;
    this.#version = event.version;
    this.#append.push(event);
  }

  /** An event that this release does not know: its place in the stream is taken. */
  pass(version: number): void {
    this.close();
    this.#version = version;
  }

  /** Looks at the append that is complete by now. */
  close(): void {
    const events = this.#append;
    const [first] = events;
    if (first === undefined) return;
    this.#append = [];
    this.#check(first, events);
    if (this.#missing !== 0) this.#broken = true;
    this.#missing = 0;
    this.#fold(events);
  }

  #check(first: Logged, events: readonly Logged[]): void {
    const { causation } = first.metadata;
    const occasion = readOccasion(this.#hostId, causation);
    const kind = kindOf(occasion);
    const causes = occasion === undefined ? this.#causesOf(events) : [];
    let reason: string | undefined;
    if (this.#broken) reason = UNFOLDED;
    else if (causation === `host-${this.#hostId}`) reason = OLD;
    else if (causes === undefined) reason = CAUSE_MISSING;
    const found = reason === undefined ? this.#apart(occasion, causes ?? [], events) : undefined;
    if (reason === undefined) this.#findings.checked(kind);
    else this.#findings.notCheckable(kind, reason);
    // What is missing can be named when it is just what today's decision has more.
    const isNamed = found !== undefined && lacks(found, this.#missing);
    if (this.#missing !== 0 && !isNamed && !this.#broken) this.#differs('hole', first, MISSING, HOLE);
    else if (found !== undefined) this.#differs(kind, first, WHAT[kind], found);
  }

  #apart(
    occasion: Occasion | undefined,
    causes: readonly News[],
    events: readonly Logged[],
  ): Comparison | undefined {
    return compareDerived(events, () => decideAgain(this.#pool, occasion, causes, events));
  }

  /** In the order in which they appear; undefined when one is not known. */
  #causesOf(events: readonly Logged[]): News[] | undefined {
    const causes: News[] = [];
    for (const id of new Set(events.map(({ metadata }) => metadata.causation))) {
      const news = this.#news.get(id);
      if (news === undefined) return undefined;
      causes.push(news);
    }
    return causes;
  }

  #fold(events: readonly Logged[]): void {
    for (const event of events) {
      this.#forgetNews(event);
      if (this.#broken) continue;
      try {
        evolve(this.#pool, event as Event);
      } catch (error) {
        this.#broken = true;
        const lines = [describeError(error)];
        this.#differs('hole', event, 'what is recorded cannot have happened', {
          recorded: [event],
          derived: [],
          lines,
        });
      }
    }
  }

  /** News is carried out once; after the end of its run nothing comes of it. */
  #forgetNews({ type, data, metadata }: Logged): void {
    const news = this.#news.get(metadata.causation);
    if (news !== undefined) {
      this.#news.delete(news.eventId);
      this.#about.get(subjectOf(news.data))?.delete(news.eventId);
    }
    if (type !== 'RunClosed') return;
    for (const id of this.#about.get(data.runId) ?? []) this.#news.delete(id);
    this.#about.delete(data.runId);
  }

  #differs(
    kind: Kind | 'hole',
    { position, stream, version }: Logged,
    what: string,
    found: Comparison,
  ): void {
    this.#findings.differs({ kind, position, stream, version, what, ...found });
  }
}

/** One append is recorded at one instant, to the microsecond: appends to a stream follow each other under its row's lock. */
function isOneAppend(first: Logged, event: Logged): boolean {
  if (first.recordedAt !== event.recordedAt) return false;
  const [one, other] = [first.metadata.causation, event.metadata.causation];
  return one === other || (!isOfTheHost(one) && !isOfTheHost(other));
}
const isOfTheHost = (causation: string): boolean => causation.startsWith('host-');

const kindOf = (occasion: Occasion | undefined): Kind => occasion?.kind ?? 'news';

const WHAT: Readonly<Record<Kind, string>> = {
  plan: 'the plan is another one today',
  shadow: 'the shadow plan is another one today',
  look: 'what the pool decides is another thing today',
  news: 'what the news asks of the pool is another thing today',
  confirmation: 'something is confirmed that the pool had not asked for',
  drift: 'what was seen at the host leads to something else today',
  'given-up': 'what was given up was nothing that the pool had asked for',
  registration: 'the host was registered already',
};

export const isNews = (event: Logged): event is News => (poolNews as readonly string[]).includes(event.type);

/**
 * What the schedules have to be done now: fired, announced, set back. Each schedule has a moment at which it is to be looked at again,
 * so a look costs what has come due and not what there is: with nothing due it compares two numbers. Cron is computed when a schedule is
 * defined, when it comes due, and when the clock goes back by more than a margin, never to find that nothing is due.
 * What is to be done is said once, and again only after an event of that schedule, or at its next due time.
 */
import type { Event } from '@backhaul/contracts';
import { cronDueTimes, type DueTimes, type TimesAround } from './due-times.ts';
import {
  CLOCK_MARGIN_MILLISECONDS,
  futureOf,
  isDue,
  isToBeAnnounced,
  type Schedule,
  type ScheduleEvent,
  schedule,
} from './schedule.ts';

export type Due =
  | { readonly what: 'fire' | 'announce'; readonly scheduleId: string; readonly dueAt: string }
  | { readonly what: 'set back'; readonly scheduleId: string };

export interface Look {
  /** The time that it went by. */
  readonly now: string;
  readonly due: readonly Due[];
  /** Some that are to be looked at were not: look again. */
  readonly more: boolean;
}

interface Entry {
  state: Schedule;
  /** As of the last look at it; undefined: to be computed. */
  times: TimesAround | undefined;
  wakeAt: number;
}

const AT_ONCE = Number.NEGATIVE_INFINITY;
const NEVER = Number.POSITIVE_INFINITY;

export class Agenda {
  readonly #dueTimes: DueTimes;
  readonly #entries = new Map<string, Entry>();
  /** By host, how many minutes before a due time it wants to hear of it. */
  readonly #leads = new Map<string, number>();
  /** When the first of all is to be looked at. */
  #wakeAt = NEVER;
  /** The latest time of a look, since everything was computed. */
  #lookedAt = AT_ONCE;

  constructor(dueTimes: DueTimes = cronDueTimes) {
    this.#dueTimes = dueTimes;
  }

  apply(event: ScheduleEvent | Event<'HostPolicyDefined'>): void {
    if (event.type === 'HostPolicyDefined') {
      const { hostId, policy } = event.data;
      this.#leads.set(hostId, policy.preStartMinutes ?? 0);
      for (const entry of this.#entries.values())
        if (entry.state.definition?.hostId === hostId) this.#wake(entry);
      return;
    }
    const { scheduleId } = event.data;
    let entry = this.#entries.get(scheduleId);
    if (entry === undefined) {
      entry = { state: schedule.initialState, times: undefined, wakeAt: NEVER };
      this.#entries.set(scheduleId, entry);
    }
    entry.state = schedule.evolve(entry.state, event);
    if (event.type === 'ScheduleDefined') entry.times = undefined;
    this.#wake(entry);
  }

  /**
   * At most `schedulesMax` schedules are looked at, so that one look has a bound, whatever has come due together. A clock that goes back
   * within the margin is taken to stand still.
   */
  look(time: string, schedulesMax: number): Look {
    if (Date.parse(time) < this.#lookedAt - CLOCK_MARGIN_MILLISECONDS) this.lookAtAll();
    const at = Math.max(this.#lookedAt, Date.parse(time));
    const now = new Date(at).toISOString();
    this.#lookedAt = at;
    if (at < this.#wakeAt) return { now, due: [], more: false };
    const due: Due[] = [];
    let looked = 0;
    let first = NEVER;
    for (const [scheduleId, entry] of this.#entries) {
      if (entry.wakeAt <= at && looked < schedulesMax) {
        looked += 1;
        this.#lookAt(scheduleId, entry, now, due);
      }
      first = Math.min(first, entry.wakeAt);
    }
    this.#wakeAt = first;
    return { now, due, more: first <= at };
  }

  /** Computes everything anew, and says again what is to be done: what was said before may not have been done. */
  lookAtAll(): void {
    for (const entry of this.#entries.values()) {
      entry.times = undefined;
      this.#wake(entry);
    }
    this.#lookedAt = AT_ONCE;
  }

  #lookAt(scheduleId: string, entry: Entry, now: string, due: Due[]): void {
    const { state } = entry;
    if (state.definition === null) {
      entry.times = undefined;
      entry.wakeAt = NEVER;
      return;
    }
    const times = this.#timesOf(state.definition, entry.times, now);
    entry.times = times;
    const { newest, next } = times;
    const nextAt = next === undefined ? NEVER : Date.parse(next);
    entry.wakeAt = nextAt;
    if (futureOf(state, now) !== undefined) {
      due.push({ what: 'set back', scheduleId });
      return;
    }
    if (newest !== undefined && isDue(state, newest)) due.push({ what: 'fire', scheduleId, dueAt: newest });
    const lead = this.#leads.get(state.definition.hostId) ?? 0;
    if (lead === 0 || next === undefined || !isToBeAnnounced(state, next)) return;
    const announceAt = nextAt - lead * 60_000;
    if (announceAt <= Date.parse(now)) due.push({ what: 'announce', scheduleId, dueAt: next });
    else entry.wakeAt = announceAt;
  }

  /** From due time to due time it is one step; over several of them it is computed from the clock. */
  #timesOf(
    rule: NonNullable<Schedule['definition']>,
    known: TimesAround | undefined,
    now: string,
  ): TimesAround {
    if (known === undefined) return this.#dueTimes.around(rule, now);
    if (known.next === undefined || known.next > now) return known;
    const following = this.#dueTimes.firstAfter(rule, known.next);
    if (following !== undefined && following <= now) return this.#dueTimes.around(rule, now);
    return { newest: known.next, next: following };
  }

  #wake(entry: Entry): void {
    entry.wakeAt = AT_ONCE;
    this.#wakeAt = AT_ONCE;
  }
}

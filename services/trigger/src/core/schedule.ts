/**
 * A schedule that asks for backups of one VM. The promises kept here: each due time is fired once, however many triggers
 * run; and when none ran for a while, the latest due time that was missed is fired, and those before it are not. Where the policy of the
 * host wants to hear of it before, the next due time is announced once for every definition of the schedule. It alone: where due times
 * lie closer together than that, what was prepared for one is still there for the next.
 * A clock that is ahead for a while silences no schedule: what it left in the future is said, and not believed any more.
 * The clock is the caller's; cron is computed, never waited for.
 */
import { type Event, type EventData, type StreamName, streamName } from '@backhaul/contracts';
import { type Decider, ok, type Refusal, refuse, unreachable } from '@backhaul/kernel';
import { cronDueTimes, whatIsWrong } from './due-times.ts';

export const scheduleStream = (scheduleId: string): StreamName => streamName('schedule', scheduleId);

export type ScheduleEvent = Event<
  'ScheduleDefined' | 'ScheduleRemoved' | 'ScheduleApproaching' | 'ScheduleFired' | 'ScheduleSetBack'
>;

export type Definition = EventData<'ScheduleDefined'>;

export interface Schedule {
  /** Null before it was defined, and after it was removed. */
  readonly definition: Definition | null;
  readonly existed: boolean;
  /** What came due up to then is nobody's: when it was defined, or when that was found to lie in the future. */
  readonly since: string;
  /** The newest due time that was fired. */
  readonly firedUpTo: string | null;
  /** The due time that was announced last, since it was defined. */
  readonly announced: string | null;
}

/** Times are of the log's clock. */
export type ScheduleCommand =
  | { readonly type: 'DefineSchedule'; readonly definition: Definition }
  | { readonly type: 'RemoveSchedule'; readonly scheduleId: string; readonly removedAt: string }
  | {
      readonly type: 'AnnounceSchedule';
      readonly dueAt: string;
      readonly announcedAt: string;
      readonly backupId: string;
    }
  | {
      readonly type: 'FireSchedule';
      readonly dueAt: string;
      readonly firedAt: string;
      readonly backupId: string;
    }
  /** `fired`: all due times that were ever fired, as the stream has them. */
  | { readonly type: 'SetBackSchedule'; readonly fired: readonly string[]; readonly setBackAt: string };

/** So far may two clocks be apart that follow one another: the log's, before and after its database is served by another machine. */
export const CLOCK_MARGIN_MILLISECONDS = 5 * 60_000;

export const schedule: Decider<Schedule, ScheduleCommand, ScheduleEvent> = {
  initialState: { definition: null, existed: false, since: '', firedUpTo: null, announced: null },

  evolve(state, event): Schedule {
    switch (event.type) {
      case 'ScheduleDefined': {
        const { definedAt: since } = event.data;
        const firedUpTo = isAhead(state.firedUpTo, since) ? null : state.firedUpTo;
        // It may come due earlier than it would have: who was told the other time is told again.
        return { definition: event.data, existed: true, since, firedUpTo, announced: null };
      }
      case 'ScheduleRemoved':
        return { ...state, definition: null };
      case 'ScheduleApproaching':
        return { ...state, announced: event.data.dueAt };
      case 'ScheduleFired':
        return { ...state, firedUpTo: event.data.dueAt };
      case 'ScheduleSetBack': {
        const { to: firedUpTo, setBackAt } = event.data;
        return { ...state, firedUpTo, since: isAhead(state.since, setBackAt) ? setBackAt : state.since };
      }
      default:
        return state;
    }
  },

  decide(state, command) {
    switch (command.type) {
      case 'DefineSchedule': {
        const { definition } = command;
        const wrong = whatIsWrong(definition, definition.definedAt);
        if (wrong !== undefined) return refuse(wrong);
        const same = state.definition !== null && contentOf(state.definition) === contentOf(definition);
        // Defined again as it is, it starts again where it stands in the future.
        const stands = same && futureOf(state, definition.definedAt) === undefined;
        return ok(stands ? [] : [{ type: 'ScheduleDefined', data: definition }]);
      }
      case 'RemoveSchedule': {
        const { scheduleId, removedAt } = command;
        if (!state.existed) return refuse(unknownSchedule(scheduleId));
        return ok(
          state.definition === null ? [] : [{ type: 'ScheduleRemoved', data: { scheduleId, removedAt } }],
        );
      }
      case 'AnnounceSchedule': {
        const { dueAt, announcedAt, backupId } = command;
        if (state.definition === null || !isToBeAnnounced(state, dueAt)) return ok([]);
        const { scheduleId, hostId, vmId } = state.definition;
        const data = { scheduleId, hostId, vmId, backupId, dueAt, announcedAt };
        return ok([{ type: 'ScheduleApproaching', data }]);
      }
      case 'FireSchedule': {
        const { dueAt, firedAt, backupId } = command;
        if (state.definition === null || dueAt > firedAt || isPast(state.firedUpTo, dueAt)) return ok([]);
        const { scheduleId } = state.definition;
        return ok([{ type: 'ScheduleFired', data: { scheduleId, dueAt, firedAt, backupId } }]);
      }
      case 'SetBackSchedule': {
        const { fired, setBackAt } = command;
        const from = futureOf(state, setBackAt);
        if (state.definition === null || from === undefined) return ok([]);
        const { scheduleId } = state.definition;
        const to =
          fired
            .filter((dueAt) => !isAhead(dueAt, setBackAt))
            .toSorted()
            .at(-1) ?? null;
        return ok([{ type: 'ScheduleSetBack', data: { scheduleId, from, to, setBackAt } }]);
      }
      default:
        return unreachable(command);
    }
  },
};

/** The newest due time up to `now` that was not fired yet, or undefined. What lies before the definition is not due. */
export function dueTime(state: Schedule, now: string): string | undefined {
  if (state.definition === null) return undefined;
  const { newest } = cronDueTimes.around(state.definition, now);
  return newest !== undefined && isDue(state, newest) ? newest : undefined;
}

/** The next due time, when it is at most so many minutes away and was not announced yet; else undefined. */
export function approachingTime(state: Schedule, now: string, leadMinutes: number): string | undefined {
  if (state.definition === null) return undefined;
  const { next } = cronDueTimes.around(state.definition, now);
  if (next === undefined || Date.parse(next) - Date.parse(now) > leadMinutes * 60_000) return undefined;
  return isToBeAnnounced(state, next) ? next : undefined;
}

/** The time in the future at which the schedule stands because a clock was ahead; undefined: it stands as it should. */
export function futureOf({ definition, since, firedUpTo }: Schedule, now: string): string | undefined {
  if (definition === null) return undefined;
  if (isAhead(firedUpTo, now)) return firedUpTo ?? undefined;
  return isAhead(since, now) ? since : undefined;
}

/** Whether this due time, the newest that has come, is to be fired. */
export const isDue = ({ since, firedUpTo }: Schedule, dueAt: string): boolean =>
  dueAt > since && !isPast(firedUpTo, dueAt);

/** Of the next due time. Only that one is announced, so another that was is of no interest: a clock may have been ahead. */
export const isToBeAnnounced = ({ announced, firedUpTo }: Schedule, dueAt: string): boolean =>
  announced !== dueAt && !isPast(firedUpTo, dueAt);

const isPast = (upTo: string | null, dueAt: string): boolean => upTo !== null && dueAt <= upTo;

const isAhead = (time: string | null, now: string): boolean =>
  time !== null && Date.parse(time) > Date.parse(now) + CLOCK_MARGIN_MILLISECONDS;

/** The request that a due time stands for: the same one in every process. */
export const requestIdOf = (scheduleId: string, dueAt: string): string =>
  `schedule-${scheduleId}-${Date.parse(dueAt)}`;

const unknownSchedule = (scheduleId: string): Refusal => ({
  code: 'UnknownSchedule',
  message: `There is no schedule ${scheduleId}.`,
});

const contentOf = ({ definedAt: _, ...content }: Definition): string =>
  JSON.stringify(Object.entries(content).sort());

/**
 * A schedule that asks for backups of one VM. The promises kept here: each due time is fired once, however many triggers
 * run; and when none ran for a while, the latest due time that was missed is fired, and those before it are not. Where the policy of the
 * host wants to hear of it before, the next due time is announced once for every definition of the schedule. It alone: where due times
 * lie closer together than that, what was prepared for one is still there for the next.
 * The clock is the caller's; cron is computed, never waited for.
 */
import { type Event, type EventData, type StreamName, streamName } from '@backhaul/contracts';
import { type Decider, ok, type Refusal, refuse, unreachable } from '@backhaul/kernel';
import { Cron } from 'croner';

export const scheduleStream = (scheduleId: string): StreamName => streamName('schedule', scheduleId);

export type ScheduleEvent = Event<
  'ScheduleDefined' | 'ScheduleRemoved' | 'ScheduleApproaching' | 'ScheduleFired'
>;

export type Definition = EventData<'ScheduleDefined'>;

export interface Schedule {
  /** Null before it was defined, and after it was removed. */
  readonly definition: Definition | null;
  readonly existed: boolean;
  /** The newest due time that was fired. */
  readonly firedUpTo: string | null;
  /** The newest due time that was announced since it was defined. */
  readonly announcedUpTo: string | null;
}

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
    };

export const schedule: Decider<Schedule, ScheduleCommand, ScheduleEvent> = {
  initialState: { definition: null, existed: false, firedUpTo: null, announcedUpTo: null },

  evolve(state, event): Schedule {
    switch (event.type) {
      case 'ScheduleDefined':
        // It may come due earlier than it would have: who was told the other time is told again.
        return { ...state, definition: event.data, existed: true, announcedUpTo: null };
      case 'ScheduleRemoved':
        return { ...state, definition: null };
      case 'ScheduleApproaching':
        return { ...state, announcedUpTo: event.data.dueAt };
      case 'ScheduleFired':
        return { ...state, firedUpTo: event.data.dueAt };
      default:
        return state;
    }
  },

  decide(state, command) {
    switch (command.type) {
      case 'DefineSchedule': {
        const { definition } = command;
        const wrong = whatIsWrong(definition);
        if (wrong !== undefined) return refuse(wrong);
        const same = state.definition !== null && contentOf(state.definition) === contentOf(definition);
        return ok(same ? [] : [{ type: 'ScheduleDefined', data: definition }]);
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
        if (state.definition === null || isPast(state.announcedUpTo, dueAt) || isPast(state.firedUpTo, dueAt))
          return ok([]);
        const { scheduleId, hostId, vmId } = state.definition;
        const data = { scheduleId, hostId, vmId, backupId, dueAt, announcedAt };
        return ok([{ type: 'ScheduleApproaching', data }]);
      }
      case 'FireSchedule': {
        const { dueAt, firedAt, backupId } = command;
        if (state.definition === null || isPast(state.firedUpTo, dueAt)) return ok([]);
        const { scheduleId } = state.definition;
        return ok([{ type: 'ScheduleFired', data: { scheduleId, dueAt, firedAt, backupId } }]);
      }
      default:
        return unreachable(command);
    }
  },
};

/** The newest due time up to `now` that was not fired yet, or undefined. What lies before the definition is not due. */
export function dueTime(state: Schedule, now: string): string | undefined {
  const { definition, firedUpTo } = state;
  if (definition === null) return undefined;
  // A run at the very instant of the reference would not count as past: so it is asked from a millisecond later.
  const [latest] = cronOf(definition).previousRuns(1, new Date(Date.parse(now) + 1));
  const dueAt = latest?.toISOString();
  if (dueAt === undefined || dueAt <= definition.definedAt) return undefined;
  return isPast(firedUpTo, dueAt) ? undefined : dueAt;
}

/** The next due time, when it is at most so many minutes away and was not announced yet; else undefined. */
export function approachingTime(state: Schedule, now: string, leadMinutes: number): string | undefined {
  const { definition, announcedUpTo } = state;
  if (definition === null) return undefined;
  const next = cronOf(definition).nextRun(new Date(now));
  if (next === null || next.getTime() - Date.parse(now) > leadMinutes * 60_000) return undefined;
  const dueAt = next.toISOString();
  return isPast(announcedUpTo, dueAt) ? undefined : dueAt;
}

const isPast = (upTo: string | null, dueAt: string): boolean => upTo !== null && dueAt <= upTo;

/** The request that a due time stands for: the same one in every process. */
export const requestIdOf = (scheduleId: string, dueAt: string): string =>
  `schedule-${scheduleId}-${Date.parse(dueAt)}`;

const cronOf = ({ cron, timeZone }: Pick<Definition, 'cron' | 'timeZone'>): Cron =>
  new Cron(cron, { timezone: timeZone });

function whatIsWrong(definition: Definition): Refusal | undefined {
  const { cron, timeZone } = definition;
  try {
    if (cronOf(definition).nextRun(new Date(definition.definedAt)) !== null) return undefined;
  } catch (error) {
    return {
      code: 'InvalidSchedule',
      message: `Cron "${cron}" in time zone "${timeZone}" cannot be read: ${(error as Error).message}`,
      wayOut: 'Give five or six cron fields, such as "30 2 * * *", and a time zone such as "Europe/Vienna".',
    };
  }
  return {
    code: 'InvalidSchedule',
    message: `Cron "${cron}" never comes due.`,
    wayOut: 'Give a date that exists.',
  };
}

const unknownSchedule = (scheduleId: string): Refusal => ({
  code: 'UnknownSchedule',
  message: `There is no schedule ${scheduleId}.`,
});

const contentOf = ({ definedAt: _, ...content }: Definition): string =>
  JSON.stringify(Object.entries(content).sort());

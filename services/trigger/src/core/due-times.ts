/** When a cron comes due in its time zone, computed with croner and never waited for. What one look costs stands in `agenda.ts`. */
import type { EventData } from '@backhaul/contracts';
import type { Refusal } from '@backhaul/kernel';
import { Cron } from 'croner';

type Rule = Pick<EventData<'ScheduleDefined'>, 'cron' | 'timeZone'>;

/** Undefined: there is none. */
export interface TimesAround {
  readonly newest: string | undefined;
  readonly next: string | undefined;
}

/** Each is a computation that costs a fifth of a millisecond: whoever has thousands of schedules counts them. */
export interface DueTimes {
  /** The newest due time at this moment or before, and the first after it. */
  around(rule: Rule, now: string): TimesAround;
  firstAfter(rule: Rule, after: string): string | undefined;
}

export const cronDueTimes: DueTimes = {
  around(rule, now) {
    const cron = cronOf(rule);
    // A run at the very instant of the reference would not count as past: so it is asked from a millisecond later.
    const [newest] = cron.previousRuns(1, new Date(Date.parse(now) + 1));
    return { newest: newest?.toISOString(), next: cron.nextRun(new Date(now))?.toISOString() };
  },
  firstAfter: (rule, after) => cronOf(rule).nextRun(new Date(after))?.toISOString(),
};

/** Undefined when it can be read, and comes due at all after this time. */
export function whatIsWrong({ cron, timeZone }: Rule, after: string): Refusal | undefined {
  try {
    if (cronDueTimes.firstAfter({ cron, timeZone }, after) !== undefined) return undefined;
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

const cronOf = ({ cron, timeZone }: Rule): Cron => new Cron(cron, { timezone: timeZone });

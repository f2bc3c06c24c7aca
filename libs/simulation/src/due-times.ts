/** When a schedule comes due: computed with the library that the trigger fires its schedules by. */
import { ok, type Result, refuse } from '@backhaul/kernel';
import { Cron } from 'croner';
import type { ScheduleDescription } from './fleet.ts';

/** In milliseconds since the epoch, from `start` on and before `end`. */
export function dueTimes(
  { cron, timeZone }: Pick<ScheduleDescription, 'cron' | 'timeZone'>,
  start: number,
  end: number,
): Result<number[]> {
  try {
    const schedule = new Cron(cron, { timezone: timeZone });
    const times: number[] = [];
    // The instant that is asked from does not count: so it is asked from a millisecond before.
    for (let after = start - 1; ; ) {
      const next = schedule.nextRun(new Date(after))?.getTime();
      if (next === undefined || next >= end) return ok(times);
      times.push(next);
      after = next;
    }
  } catch (error) {
    return refuse({
      code: 'InvalidSchedule',
      message: `Cron "${cron}" in time zone "${timeZone}" cannot be read: ${(error as Error).message}`,
      wayOut: 'Give five or six cron fields, such as "30 2 * * *", and a time zone such as "Europe/Vienna".',
    });
  }
}

/**
 * The clock of the schedules: follows their streams in the log, fires what has come due, and announces what soon will where the policy
 * of the host asks for that. Any number of these may run, and one is enough. After a start it finds what came due while none ran.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Event } from '@backhaul/contracts';
import { approachingTime, dueTime, type Schedule, type ScheduleEvent, schedule } from '../core/schedule.ts';
import { announceSchedule, fireSchedule, type Schedules } from '../fire-schedules.ts';
import type { Desk } from '../subjects.ts';

type PolicyEvent = Event<'HostPolicyDefined'>;

/** How late a backup may be asked for after its due time, at most. */
const TICK_MILLISECONDS = 500;

/** Runs until the signal aborts. Throws what the log throws; whoever runs this runs it again. */
export async function runScheduler(desk: Desk, schedules: Schedules, signal: AbortSignal): Promise<void> {
  const known = new Map<string, Schedule>();
  /** By host, how many minutes before a due time it wants to hear of it. */
  const leads = new Map<string, number>();
  let position = 0;
  while (!signal.aborted) {
    for (let more = true; more && !signal.aborted; ) {
      const page = await desk.store.readLog(position, { categories: ['schedule', 'policy'] });
      for (const event of page.events as unknown as readonly (ScheduleEvent | PolicyEvent)[]) {
        if (event.type === 'HostPolicyDefined') {
          leads.set(event.data.hostId, event.data.policy.preStartMinutes ?? 0);
          continue;
        }
        if (!('scheduleId' in event.data)) continue;
        const { scheduleId } = event.data;
        known.set(scheduleId, schedule.evolve(known.get(scheduleId) ?? schedule.initialState, event));
      }
      more = page.next < page.highWater;
      position = page.next;
    }
    const now = desk.now();
    for (const [scheduleId, state] of known) {
      const dueAt = dueTime(state, now);
      if (dueAt !== undefined) await fireSchedule(desk, schedules, scheduleId, dueAt);
      const lead = leads.get(state.definition?.hostId ?? '') ?? 0;
      const soon = lead === 0 ? undefined : approachingTime(state, now, lead);
      if (soon !== undefined) await announceSchedule(desk, schedules, scheduleId, soon);
    }
    await pause(TICK_MILLISECONDS, undefined, { signal }).catch(() => undefined);
  }
}

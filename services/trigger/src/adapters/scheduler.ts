/**
 * The clock of the schedules: follows their streams in the log, fires what has come due, and announces what soon will where the policy
 * of the host asks for that. Any number of these may run, and one is enough. After a start it finds what came due while none ran.
 * The time is the log's, one for all instances. When it goes back, what it left in the future is set back, and that is said.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type Event, typesOf } from '@backhaul/contracts';
import { logTime } from '@backhaul/event-store';
import type { Logger } from 'pino';
import { Agenda, type Due } from '../core/agenda.ts';
import type { ScheduleEvent } from '../core/schedule.ts';
import { announceSchedule, fireSchedule, type Schedules, setBackSchedule } from '../fire-schedules.ts';
import type { Desk } from '../subjects.ts';

type PolicyEvent = Event<'HostPolicyDefined'>;

export interface SchedulerParts {
  readonly desk: Desk;
  readonly schedules: Schedules;
  readonly log: Logger;
  /** Default: by the clock of the log. */
  readonly time?: () => Promise<string>;
}

const FOLLOWED = typesOf('schedule', 'policy');
/** How late a backup may be asked for after its due time, at most. */
const TICK_MILLISECONDS = 500;
/** In one go: some ten milliseconds of computing, when all are to be computed. Requests and transactions get their turn in between. */
const SCHEDULES_PER_LOOK = 25;

export interface Scheduler {
  /**
   * Works until the signal aborts. Throws what the log throws; run again, it goes on from what it has read of the log, and does what was
   * left undone.
   */
  run(signal: AbortSignal): Promise<void>;
}

export function schedulerOf(parts: SchedulerParts): Scheduler {
  const { store } = parts.desk;
  const time = parts.time ?? (() => logTime(store));
  const agenda = new Agenda();
  let position = 0;
  return {
    async run(signal) {
      agenda.lookAtAll();
      while (!signal.aborted) {
        for (let more = true; more && !signal.aborted; ) {
          const page = await store.readLog(position, { types: FOLLOWED });
          for (const event of page.events as unknown as readonly (ScheduleEvent | PolicyEvent)[])
            if (event.type === 'HostPolicyDefined' || 'scheduleId' in event.data) agenda.apply(event);
          more = page.next < page.highWater;
          position = page.next;
        }
        for (let more = true; more && !signal.aborted; ) {
          const look = agenda.look(await time(), SCHEDULES_PER_LOOK);
          for (const each of look.due) if (!signal.aborted) await carryOut(parts, each, look.now);
          more = look.more;
        }
        await pause(TICK_MILLISECONDS, undefined, { signal }).catch(() => undefined);
      }
    },
  };
}

async function carryOut({ desk, schedules, log }: SchedulerParts, due: Due, now: string): Promise<void> {
  const { scheduleId } = due;
  switch (due.what) {
    case 'fire':
      return await fireSchedule(desk, schedules, scheduleId, due.dueAt, now);
    case 'announce':
      return await announceSchedule(schedules, scheduleId, due.dueAt, now);
    case 'set back': {
      const done = await setBackSchedule(desk, schedules, scheduleId, now);
      if (done === undefined) return;
      const { from, to, setBackAt } = done;
      log.warn(
        { scheduleId, from, to, setBackAt },
        'a clock had been ahead: the schedule stood in the future, and goes on from now',
      );
    }
  }
}

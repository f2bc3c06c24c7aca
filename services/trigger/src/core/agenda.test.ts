/** What a look at thousands of schedules costs, counted and not timed: how often cron is computed. */
import { noHostPolicy } from '@backhaul/contracts';
import { beforeEach, describe, expect, test } from 'vitest';
import { Agenda, type Due } from './agenda.ts';
import { cronDueTimes, type DueTimes } from './due-times.ts';
import { backupIdOf } from './requests.fixture.ts';
import type { Definition, ScheduleEvent } from './schedule.ts';

const computed = { around: 0, firstAfter: 0 };
const counted: DueTimes = {
  around(rule, now) {
    computed.around += 1;
    return cronDueTimes.around(rule, now);
  },
  firstAfter(rule, after) {
    computed.firstAfter += 1;
    return cronDueTimes.firstAfter(rule, after);
  },
};

const SCHEDULES = 600;

const definitionOf = (number: number): Definition => ({
  scheduleId: `nightly-${number}`,
  // Ten come due in each minute from 02:00 to 03:00.
  cron: `${number % 60} 2 * * *`,
  timeZone: 'UTC',
  hostId: 'lab',
  vmId: `web-${number}`,
  kind: 'auto',
  policyId: 'default',
  definedAt: '2026-01-01T12:00:00.000Z',
});

/** All that is due, in as many looks as it takes. */
function dueAt(agenda: Agenda, now: string): Due[] {
  const due: Due[] = [];
  for (let more = true; more; ) {
    const look = agenda.look(now, 100);
    due.push(...look.due);
    more = look.more;
  }
  return due;
}

const fired = ({ scheduleId }: Due, at: string): ScheduleEvent => ({
  type: 'ScheduleFired',
  data: { scheduleId, dueAt: at, firedAt: at, backupId: backupIdOf(scheduleId) },
});

let agenda: Agenda;
beforeEach(() => {
  agenda = new Agenda(counted);
  for (let number = 0; number < SCHEDULES; number += 1)
    agenda.apply({ type: 'ScheduleDefined', data: definitionOf(number) });
  expect(dueAt(agenda, '2026-01-01T12:00:00.000Z')).toEqual([]);
  Object.assign(computed, { around: 0, firstAfter: 0 });
});

describe('cron is computed', () => {
  test('not at all by looks at which nothing is due, however many', () => {
    for (let second = 0; second < 10_000; second += 1) {
      const now = new Date(Date.parse('2026-01-01T12:00:00.000Z') + second * 500).toISOString();
      expect(agenda.look(now, 100)).toEqual({ now, due: [], more: false });
    }
    expect(computed).toEqual({ around: 0, firstAfter: 0 });
  });

  test('once for each that comes due, and not for the others, nor when it is heard that it was fired', () => {
    const now = '2026-01-02T02:00:00.000Z';
    const due = dueAt(agenda, now);
    expect(due).toHaveLength(SCHEDULES / 60);
    expect(due[0]).toEqual({ what: 'fire', scheduleId: 'nightly-0', dueAt: now });
    expect(computed).toEqual({ around: 0, firstAfter: SCHEDULES / 60 });
    for (const each of due) agenda.apply(fired(each, now));
    expect(dueAt(agenda, '2026-01-02T02:00:00.500Z')).toEqual([]);
    expect(computed).toEqual({ around: 0, firstAfter: SCHEDULES / 60 });
  });

  test('for the one that is defined anew', () => {
    agenda.apply({ type: 'ScheduleDefined', data: { ...definitionOf(7), cron: '1 12 * * *' } });
    expect(dueAt(agenda, '2026-01-01T12:00:30.000Z')).toEqual([]);
    expect(computed).toEqual({ around: 1, firstAfter: 0 });
    expect(dueAt(agenda, '2026-01-01T12:01:00.000Z')).toEqual([
      { what: 'fire', scheduleId: 'nightly-7', dueAt: '2026-01-01T12:01:00.000Z' },
    ]);
  });

  test('for all when the clock has gone back, and not when it was moved a little', () => {
    expect(dueAt(agenda, '2029-06-01T12:00:00.000Z')).toHaveLength(SCHEDULES);
    Object.assign(computed, { around: 0, firstAfter: 0 });
    expect(dueAt(agenda, '2029-06-01T11:58:00.000Z')).toEqual([]);
    expect(computed).toEqual({ around: 0, firstAfter: 0 });
    expect(dueAt(agenda, '2026-01-01T12:00:10.000Z')).toEqual([]);
    expect(computed).toEqual({ around: SCHEDULES, firstAfter: 0 });
    expect(dueAt(agenda, '2026-01-02T02:00:00.000Z'), 'and it goes on from there').toHaveLength(
      SCHEDULES / 60,
    );
  });
});

test('a schedule is looked at again when its due time is near enough to be announced', () => {
  const policy = { hostId: 'lab', policy: { ...noHostPolicy, preStartMinutes: 5 }, revision: 1 };
  const definedAt = '2026-01-01T12:00:00.000Z';
  agenda.apply({ type: 'HostPolicyDefined', data: { ...policy, definedAt } });
  expect(dueAt(agenda, '2026-01-01T12:00:01.000Z')).toEqual([]);
  expect(dueAt(agenda, '2026-01-02T01:54:59.999Z')).toEqual([]);
  const due = dueAt(agenda, '2026-01-02T01:55:00.000Z');
  expect(due).toHaveLength(SCHEDULES / 60);
  const first = { scheduleId: 'nightly-0', dueAt: '2026-01-02T02:00:00.000Z' };
  expect(due[0]).toEqual({ what: 'announce', ...first });
  expect(computed, 'and nothing is computed for that').toEqual({ around: 0, firstAfter: 0 });
});

test('one look has a bound, and the next goes on where it ended', () => {
  const seen = new Set<string>();
  const now = '2026-01-03T12:00:00.000Z';
  for (let looks = 1; ; looks += 1) {
    const { due, more } = agenda.look(now, 100);
    expect(due.length).toBeLessThanOrEqual(100);
    for (const { scheduleId } of due) seen.add(scheduleId);
    expect(more).toBe(looks < SCHEDULES / 100);
    if (!more) break;
  }
  expect(seen.size).toBe(SCHEDULES);
});

test('what was said and may not have been done is said again by a look at all, and only what was not done', () => {
  const now = '2026-01-02T02:00:00.000Z';
  const said = dueAt(agenda, now);
  expect(said).toHaveLength(10);
  expect(dueAt(agenda, now)).toEqual([]);
  const [done, ...undone] = said;
  if (done !== undefined) agenda.apply(fired(done, now));
  agenda.lookAtAll();
  expect(dueAt(agenda, now)).toEqual(undone);
});

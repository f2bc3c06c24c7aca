import { fold } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { backupIdOf, given } from './requests.fixture.ts';
import {
  approachingTime,
  type Definition,
  dueTime,
  futureOf,
  type ScheduleEvent,
  schedule,
} from './schedule.ts';

const definition: Definition = {
  scheduleId: 'nightly',
  cron: '0 2 * * *',
  timeZone: 'UTC',
  hostId: 'lab',
  vmId: 'web-1',
  kind: 'auto',
  policyId: 'default',
  definedAt: '2026-01-01T12:00:00.000Z',
};
const defined: ScheduleEvent = { type: 'ScheduleDefined', data: definition };
const removed: ScheduleEvent = {
  type: 'ScheduleRemoved',
  data: { scheduleId: 'nightly', removedAt: '2026-01-05T00:00:00.000Z' },
};
const firedFor = (dueAt: string): ScheduleEvent => ({
  type: 'ScheduleFired',
  data: { scheduleId: 'nightly', dueAt, firedAt: dueAt, backupId: backupIdOf(dueAt) },
});
const history = given(schedule);
const after = (...events: ScheduleEvent[]) => fold(schedule.evolve, schedule.initialState, events);

describe('a due time', () => {
  test('is the newest one that has passed, to the millisecond', () => {
    expect(dueTime(after(defined), '2026-01-02T01:59:59.999Z')).toBeUndefined();
    expect(dueTime(after(defined), '2026-01-02T02:00:00.000Z')).toBe('2026-01-02T02:00:00.000Z');
    expect(dueTime(after(defined), '2026-01-02T02:00:00.001Z')).toBe('2026-01-02T02:00:00.000Z');
  });

  test('that was missed is the latest only, after however long', () => {
    expect(dueTime(after(defined), '2026-03-01T10:00:00.000Z')).toBe('2026-03-01T02:00:00.000Z');
  });

  test('is over once it was fired', () => {
    const fired = after(defined, firedFor('2026-01-02T02:00:00.000Z'));
    expect(dueTime(fired, '2026-01-02T23:00:00.000Z')).toBeUndefined();
    expect(dueTime(fired, '2026-01-03T02:00:00.000Z')).toBe('2026-01-03T02:00:00.000Z');
  });

  test('does not lie before the schedule was defined, nor after it was removed', () => {
    expect(dueTime(after(defined), '2026-01-01T13:00:00.000Z')).toBeUndefined();
    expect(dueTime(after(defined, removed), '2026-01-09T13:00:00.000Z')).toBeUndefined();
  });

  test('follows the clock of its time zone', () => {
    const vienna = after({ type: 'ScheduleDefined', data: { ...definition, timeZone: 'Europe/Vienna' } });
    expect(dueTime(vienna, '2026-01-02T12:00:00.000Z')).toBe('2026-01-02T01:00:00.000Z');
    expect(dueTime(vienna, '2026-07-02T12:00:00.000Z')).toBe('2026-07-02T00:00:00.000Z');
  });
});

describe('a due time that approaches', () => {
  const approaching = (dueAt: string): ScheduleEvent => ({
    type: 'ScheduleApproaching',
    data: {
      ...{ scheduleId: 'nightly', hostId: 'lab', vmId: 'web-1', dueAt },
      ...{ backupId: backupIdOf(dueAt), announcedAt: '2026-01-02T01:55:00.000Z' },
    },
  });
  const announce = (dueAt: string) => ({
    type: 'AnnounceSchedule' as const,
    ...{ dueAt, backupId: backupIdOf(dueAt), announcedAt: '2026-01-02T01:55:00.000Z' },
  });
  const dueAt = '2026-01-02T02:00:00.000Z';

  test('is the next one, as soon as it is near enough', () => {
    expect(approachingTime(after(defined), '2026-01-02T01:54:59.999Z', 5)).toBeUndefined();
    expect(approachingTime(after(defined), '2026-01-02T01:55:00.000Z', 5)).toBe(dueAt);
    expect(approachingTime(after(defined), '2026-01-02T02:00:00.000Z', 5), 'it is due').toBeUndefined();
    expect(approachingTime(after(defined), '2026-01-02T02:00:00.000Z', 24 * 60)).toBe(
      '2026-01-03T02:00:00.000Z',
    );
    expect(approachingTime(after(defined, removed), '2026-01-09T01:59:00.000Z', 5)).toBeUndefined();
  });

  test('is announced once', () => {
    expect(history(defined).when(announce(dueAt))).toEqual({ ok: true, value: [approaching(dueAt)] });
    expect(history(defined, approaching(dueAt)).when(announce(dueAt))).toEqual({ ok: true, value: [] });
    expect(
      approachingTime(after(defined, approaching(dueAt)), '2026-01-02T01:56:00.000Z', 5),
    ).toBeUndefined();
  });

  test('is not announced when it was fired, nor of a schedule that was removed', () => {
    expect(history(defined, firedFor(dueAt)).when(announce(dueAt))).toEqual({ ok: true, value: [] });
    expect(history(defined, removed).when(announce(dueAt))).toEqual({ ok: true, value: [] });
  });

  test('is announced again when the schedule was defined anew, which may have made it earlier', () => {
    const earlier: ScheduleEvent = {
      type: 'ScheduleDefined',
      data: { ...definition, cron: '58 1 * * *', definedAt: '2026-01-02T01:55:30.000Z' },
    };
    const changed = after(defined, approaching(dueAt), earlier);
    expect(approachingTime(changed, '2026-01-02T01:56:00.000Z', 5)).toBe('2026-01-02T01:58:00.000Z');
    expect(history(defined, approaching(dueAt), earlier).when(announce('2026-01-02T01:58:00.000Z'))).toEqual({
      ok: true,
      value: [approaching('2026-01-02T01:58:00.000Z')],
    });
  });
});

describe('a schedule', () => {
  const fire = (dueAt: string) => ({
    type: 'FireSchedule' as const,
    dueAt,
    firedAt: dueAt,
    backupId: backupIdOf(dueAt),
  });

  test('fires once for a due time, and not for an earlier one afterwards', () => {
    const dueAt = '2026-01-03T02:00:00.000Z';
    expect(history(defined).when(fire(dueAt))).toEqual({ ok: true, value: [firedFor(dueAt)] });
    expect(history(defined, firedFor(dueAt)).when(fire(dueAt))).toEqual({ ok: true, value: [] });
    expect(history(defined, firedFor(dueAt)).when(fire('2026-01-02T02:00:00.000Z'))).toEqual({
      ok: true,
      value: [],
    });
  });

  test('does not fire when it was removed', () => {
    expect(history(defined, removed).when(fire('2026-01-09T02:00:00.000Z'))).toEqual({ ok: true, value: [] });
  });

  test('does not fire before its due time has come', () => {
    const early = { ...fire('2026-01-02T02:00:00.000Z'), firedAt: '2026-01-02T01:59:59.999Z' };
    expect(history(defined).when(early)).toEqual({ ok: true, value: [] });
  });

  test('defined again as it is stays as it is, and keeps its missed due times', () => {
    const again = { ...definition, definedAt: '2026-02-01T00:00:00.000Z' };
    expect(history(defined).when({ type: 'DefineSchedule', definition: again })).toEqual({
      ok: true,
      value: [],
    });
    const changed = { ...again, cron: '0 3 * * *' };
    expect(history(defined).when({ type: 'DefineSchedule', definition: changed })).toEqual({
      ok: true,
      value: [{ type: 'ScheduleDefined', data: changed }],
    });
  });

  test('is removed once; one that never was is refused', () => {
    const remove = {
      type: 'RemoveSchedule' as const,
      scheduleId: 'nightly',
      removedAt: '2026-01-05T00:00:00.000Z',
    };
    expect(history(defined).when(remove)).toEqual({ ok: true, value: [removed] });
    expect(history(defined, removed).when(remove)).toEqual({ ok: true, value: [] });
    expect(history().when(remove)).toMatchObject({ refusal: { code: 'UnknownSchedule' } });
  });

  test('is refused when its cron, its time zone or its date makes no sense, with the reason', () => {
    for (const wrong of [{ cron: 'whenever' }, { timeZone: 'Mars/One' }, { cron: '0 0 30 2 *' }]) {
      const decision = history().when({ type: 'DefineSchedule', definition: { ...definition, ...wrong } });
      expect(decision).toMatchObject({ ok: false, refusal: { code: 'InvalidSchedule' } });
      expect(!decision.ok && decision.refusal.message).toContain(Object.values(wrong)[0]);
    }
  });
});

describe('a schedule that a clock left in the future', () => {
  const inTime = '2026-01-02T02:00:00.000Z';
  const ahead = '2030-01-05T02:00:00.000Z';
  const now = '2026-01-02T12:00:00.000Z';
  const history2030 = [defined, firedFor(inTime), firedFor(ahead)];
  const setBack = (to: string | null, from = ahead): ScheduleEvent => ({
    type: 'ScheduleSetBack',
    data: { scheduleId: 'nightly', from, to, setBackAt: now },
  });
  const command = (...fired: string[]) => ({ type: 'SetBackSchedule' as const, fired, setBackAt: now });

  test('is set back to the newest due time before, and that one is not fired again', () => {
    expect(futureOf(after(...history2030), now)).toBe(ahead);
    expect(history(...history2030).when(command(ahead, inTime))).toEqual({
      ok: true,
      value: [setBack(inTime)],
    });
    const state = after(...history2030, setBack(inTime));
    expect(futureOf(state, now)).toBeUndefined();
    expect(dueTime(state, now)).toBeUndefined();
    expect(dueTime(state, '2026-01-03T02:00:00.000Z')).toBe('2026-01-03T02:00:00.000Z');
    expect(history(...history2030, setBack(inTime)).when(command(ahead, inTime))).toEqual({
      ok: true,
      value: [],
    });
  });

  test('fires the latest due time that it missed while it stood there', () => {
    const state = after(...history2030, setBack(inTime));
    expect(dueTime(state, '2026-01-09T12:00:00.000Z')).toBe('2026-01-09T02:00:00.000Z');
    expect(dueTime(after(defined, firedFor(ahead), setBack(null)), now)).toBe(inTime);
  });

  test('starts anew when it is defined again, as it is or otherwise, also after it was removed', () => {
    for (const [events, cron] of [
      [history2030, definition.cron],
      [history2030, '0 3 * * *'],
      [[...history2030, removed], definition.cron],
    ] as const) {
      const again = { ...definition, cron, definedAt: now };
      const decision = history(...events).when({ type: 'DefineSchedule', definition: again });
      expect(decision).toEqual({ ok: true, value: [{ type: 'ScheduleDefined', data: again }] });
      const state = after(...events, ...(decision.ok ? decision.value : []));
      expect(dueTime(state, now)).toBeUndefined();
      expect(dueTime(state, '2026-01-03T12:00:00.000Z')).toBe(`2026-01-03T0${cron[2]}:00:00.000Z`);
    }
  });

  test('is set back where it was defined in the future, and what came due before that was found is nobody’s', () => {
    const definedAhead: ScheduleEvent = {
      type: 'ScheduleDefined',
      data: { ...definition, definedAt: '2030-01-04T00:00:00.000Z' },
    };
    const decision = history(definedAhead).when(command());
    expect(decision).toEqual({ ok: true, value: [setBack(null, '2030-01-04T00:00:00.000Z')] });
    const state = after(definedAhead, setBack(null, '2030-01-04T00:00:00.000Z'));
    expect(dueTime(state, now)).toBeUndefined();
    expect(dueTime(state, '2026-01-03T02:00:00.000Z')).toBe('2026-01-03T02:00:00.000Z');
  });

  test('is left alone where two clocks are a little apart: a due time is not fired twice for that', () => {
    const slow = '2026-01-02T01:58:00.000Z';
    const state = after(defined, firedFor(inTime));
    expect(futureOf(state, slow)).toBeUndefined();
    expect(dueTime(state, slow)).toBeUndefined();
    expect(dueTime(state, now)).toBeUndefined();
  });

  test('announces its next due time, whatever was announced for the future', () => {
    const announced: ScheduleEvent = {
      type: 'ScheduleApproaching',
      data: {
        ...{ scheduleId: 'nightly', hostId: 'lab', vmId: 'web-1', dueAt: ahead },
        ...{ backupId: backupIdOf(ahead), announcedAt: '2030-01-05T01:55:00.000Z' },
      },
    };
    const state = after(defined, announced);
    expect(approachingTime(state, '2026-01-03T01:58:00.000Z', 5)).toBe('2026-01-03T02:00:00.000Z');
  });

  test('is nobody’s concern once it was removed', () => {
    expect(futureOf(after(...history2030, removed), now)).toBeUndefined();
    expect(history(...history2030, removed).when(command(ahead))).toEqual({ ok: true, value: [] });
  });
});

/** What cron means where the clock of a time zone is moved: what docs/operations.md says of it. */
import { describe, expect, test } from 'vitest';
import { cronDueTimes } from './due-times.ts';

/** In Vienna 02:00 to 03:00 is left out on 29 March 2026, and comes twice on 25 October. */
const timesIn = (cron: string, from: string, to: string): string[] => {
  const times: string[] = [];
  for (let at: string | undefined = from; ; ) {
    at = cronDueTimes.firstAfter({ cron, timeZone: 'Europe/Vienna' }, at);
    if (at === undefined || at >= to) return times;
    times.push(at.slice(5, 16));
  }
};

describe('in the night in which an hour is left out', () => {
  const thatDay = (cron: string) => timesIn(cron, '2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z');

  test('a fixed time within it comes due at its end', () => {
    expect(thatDay('30 2 * * *')).toEqual(['03-29T01:00']);
  });

  test('a time of a list, a range or steps within it does not come due at all', () => {
    expect(thatDay('30 2,14 * * *')).toEqual(['03-29T12:30']);
    expect(thatDay('30 2-3 * * *')).toEqual(['03-29T01:30']);
    expect(thatDay('*/30 2 * * *')).toEqual([]);
  });
});

describe('in the night in which an hour comes twice', () => {
  const thatDay = (cron: string) => timesIn(cron, '2026-10-24T22:00:00.000Z', '2026-10-25T23:00:00.000Z');

  test('a fixed time within it comes due once, and a time of a list twice', () => {
    expect(thatDay('30 2 * * *')).toEqual(['10-25T00:30']);
    expect(thatDay('30 2,14 * * *')).toEqual(['10-25T00:30', '10-25T01:30', '10-25T13:30']);
  });
});

test('times around a moment are the same ones that a walk from one to the next finds, also where the clock is moved', () => {
  for (const [from, to] of [
    ['2026-03-28T20:00:00.000Z', '2026-03-29T12:00:00.000Z'],
    ['2026-10-24T20:00:00.000Z', '2026-10-25T12:00:00.000Z'],
  ] as const)
    for (const cron of ['30 2 * * *', '30 2,14 * * *', '*/20 * * * *']) {
      const rule = { cron, timeZone: 'Europe/Vienna' };
      let { newest, next } = cronDueTimes.around(rule, from);
      for (let at = Date.parse(from); at < Date.parse(to); at += 7 * 60_000) {
        const now = new Date(at).toISOString();
        while (next !== undefined && next <= now) {
          newest = next;
          next = cronDueTimes.firstAfter(rule, next);
        }
        expect(cronDueTimes.around(rule, now)).toEqual({ newest, next });
      }
    }
});

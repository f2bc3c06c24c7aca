import { expect, test } from 'vitest';
import { expiredLooks, lookId, lookOf } from './look-ids.ts';
import { LookLease } from './look-lease.ts';

test('what a look left is taken away when its time is over, and not before', () => {
  const ids = [`${lookId(1000, 'ab')}vda`, lookId(1000, 'ab'), 'backhaul.snapshot.vda', 'backhaul-4711'];
  expect([...expiredLooks(ids, 999)]).toEqual([]);
  expect([...expiredLooks(ids, 1001)]).toEqual(['ab']);
});

test('a look that was renewed stands, all of it; another that was not goes', () => {
  const ids = [`${lookId(1000, 'ab')}vda`, lookId(5000, 'ab'), `${lookId(1000, 'cd')}vda`];
  expect([...expiredLooks(ids, 2000)]).toEqual(['cd']);
  expect([...expiredLooks(ids, 5001)].sort()).toEqual(['ab', 'cd']);
});

test('a look has time for as long as it goes on, is renewed each minute, and ends after hours with what it was at', () => {
  const began = Date.parse('2026-01-01T00:00:00Z');
  const lease = new LookLease(began);
  const doing = () => 'The look at disk vda';
  expect(lookOf(`${lease.id}vda`)?.until).toBe(began + 240_000);
  expect([59_999, 60_000, 3_600_000].map((later) => lease.isDue(began + later, doing))).toEqual([
    false,
    true,
    true,
  ]);
  expect(() => lease.isDue(began + 6 * 3_600_000 + 1, doing)).toThrow(
    'The look at disk vda was not done after 6 hours',
  );
});

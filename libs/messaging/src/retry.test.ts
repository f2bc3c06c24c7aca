import { Fault } from '@backhaul/kernel';
import pg from 'pg';
import { expect, test } from 'vitest';
import { defaultRetryPolicy, isConflict, judge } from './retry.ts';

const verdict = (error: unknown, failures: number, deliveries = failures) =>
  judge(error, { failures, deliveries }, defaultRetryPolicy);
const fromPostgres = (code: string): Error => Object.assign(new pg.DatabaseError('no', 2, 'error'), { code });

test('a fault that could mend is tried again, later each time, and not for ever', () => {
  const fault = new Fault('the host did not answer');
  expect(verdict(fault, 1)).toEqual({ retryAfterMilliseconds: 100 });
  expect(verdict(fault, 4)).toEqual({ retryAfterMilliseconds: 800 });
  expect(verdict(fault, 19)).toEqual({ retryAfterMilliseconds: 30_000 });
  expect(verdict(fault, 20)).toBe('dead-letter');
});

test('deliveries that were no failures of its own do not count, but for a message that fails after any number of them', () => {
  const fault = new Fault('the host did not answer');
  expect(verdict(fault, 1, 3_000)).toEqual({ retryAfterMilliseconds: 100 });
  expect(verdict(fault, 19, 3_000)).toEqual({ retryAfterMilliseconds: 30_000 });
  expect(verdict(fault, 4, 10_000)).toEqual({ retryAfterMilliseconds: 800 });
  expect(verdict(fault, 5, 10_000)).toBe('dead-letter');
});

test('what can never work is given up at once, however deep the reason lies', () => {
  const fault = new Fault('planning failed', { cause: new Fault('no disks', { permanent: true }) });
  expect(verdict(fault, 1)).toBe('dead-letter');
});

test.each([
  new Fault('Appending failed', { code: 'ConnectionLost' }),
  ...['08006', '53100', '53200', '55P03', '57014', '57P01', '58030', '25006'].map(
    (state) => new Fault(`Appending failed with ${state}`, { cause: fromPostgres(state) }),
  ),
])('while the database has not what it needs a message is tried again for ever: %s', (fault) => {
  expect(verdict(fault, 0, 500)).toEqual({ retryAfterMilliseconds: 30_000 });
});

test('what a newer release has stored waits for that release', () => {
  expect(verdict(new Fault('of version 3', { code: 'NewerRelease' }), 0, 50_000)).toEqual({
    retryAfterMilliseconds: 30_000,
  });
});

test('two that met are told from one that failed', () => {
  expect(isConflict(new Fault('appending', { cause: fromPostgres('40001') }))).toBe(true);
  expect(isConflict(new Fault('the stream moved', { code: 'VersionConflict' }))).toBe(true);
  expect(isConflict(fromPostgres('23505'))).toBe(false);
});

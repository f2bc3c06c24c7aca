import { expect, test } from 'vitest';
import { Watchdog } from './watchdog.ts';

const waiting = { pending: 3, outstanding: 0, delivered: 10 };

test('a consumer with messages and no deliveries for a minute is stuck, and not a moment before', () => {
  const watchdog = new Watchdog(60_000, 256);
  expect(watchdog.isStuck(waiting, 1_000)).toBe(false);
  expect(watchdog.isStuck(waiting, 60_999)).toBe(false);
  expect(watchdog.isStuck(waiting, 61_000)).toBe(true);
});

test('a delivery to any instance starts the minute again', () => {
  const watchdog = new Watchdog(60_000, 256);
  watchdog.isStuck(waiting, 0);
  expect(watchdog.isStuck({ ...waiting, delivered: 11 }, 59_000)).toBe(false);
  expect(watchdog.isStuck({ ...waiting, delivered: 11 }, 61_000)).toBe(false);
});

test('a consumer without messages, or whose messages are all out, is not stuck', () => {
  const watchdog = new Watchdog(60_000, 256);
  for (const sample of [
    { ...waiting, pending: 0 },
    { ...waiting, outstanding: 256 },
  ]) {
    watchdog.isStuck(sample, 0);
    expect(watchdog.isStuck(sample, 120_000)).toBe(false);
  }
});

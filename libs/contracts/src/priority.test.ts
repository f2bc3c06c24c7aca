import { expect, test } from 'vitest';
import { Priority, turnOf } from './priority.ts';

const at = (hour: number): string => new Date(Date.UTC(2026, 0, 1) + hour * 3_600_000).toISOString();

test('of equal priority, who asked first comes first', () => {
  for (const priority of Priority.options)
    expect(turnOf({ priority, askedAt: at(1) })).toBeLessThan(turnOf({ priority, askedAt: at(2) }));
});

test('a head start overtakes what was asked for within it, and nothing older', () => {
  const waiting = turnOf({ priority: 'normal', askedAt: at(0) });
  expect(turnOf({ priority: 'high', askedAt: at(11) })).toBeLessThan(waiting);
  expect(turnOf({ priority: 'high', askedAt: at(13) })).toBeGreaterThan(waiting);
  expect(turnOf({ priority: 'urgent', askedAt: at(47) })).toBeLessThan(waiting);
  expect(turnOf({ priority: 'urgent', askedAt: at(49) })).toBeGreaterThan(waiting);
});

test('what is low waits until nobody of the next half a day comes before it any more', () => {
  const low = turnOf({ priority: 'low', askedAt: at(0) });
  expect(turnOf({ priority: 'normal', askedAt: at(11) })).toBeLessThan(low);
  expect(turnOf({ priority: 'normal', askedAt: at(13) })).toBeGreaterThan(low);
});

import { expect, test } from 'vitest';
import { Chance } from './chance.ts';

test('the same seed and name give the same number, and others give others', () => {
  expect(new Chance(1).of('web-1', 3)).toBe(new Chance(1).of('web-1', 3));
  const numbers = [
    new Chance(1).of('web-1', 3),
    new Chance(2).of('web-1', 3),
    new Chance(1).of('web-1', 4),
    new Chance(1).of('web-13'),
    new Chance(1).of('web', '-13'),
  ];
  expect(new Set(numbers).size).toBe(numbers.length);
});

test('the numbers are spread evenly', () => {
  const chance = new Chance(42);
  const tenths = new Array<number>(10).fill(0);
  for (let n = 0; n < 100_000; n += 1) {
    const tenth = Math.floor(10 * chance.of('vm', n));
    tenths[tenth] = (tenths[tenth] ?? 0) + 1;
  }
  for (const count of tenths) expect(Math.abs(count - 10_000)).toBeLessThan(500);
});

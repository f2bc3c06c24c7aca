import { expect, test } from 'vitest';
import { gathering } from './gathering.ts';

test('questions of one moment, and those that come while others are on their way, travel together', async () => {
  const rounds: number[][] = [];
  const double = gathering<number, number>(async (questions) => {
    rounds.push([...questions]);
    await new Promise((resolve) => setImmediate(resolve));
    return questions.map((each) => each * 2);
  });
  const first = Promise.all([double(1), double(2)]);
  await new Promise((resolve) => setImmediate(resolve));
  const second = Promise.all([double(3), double(4)]);
  expect(await first).toEqual([2, 4]);
  expect(await second).toEqual([6, 8]);
  expect(rounds).toEqual([
    [1, 2],
    [3, 4],
  ]);
});

test('a round that fails is told to those who asked in it, and the next one goes on', async () => {
  let rounds = 0;
  const ask = gathering<number, number>(async (questions) => {
    rounds += 1;
    if (rounds === 1) throw new Error('away');
    return questions;
  });
  expect((await Promise.allSettled([ask(1), ask(2)])).map(({ status }) => status)).toEqual([
    'rejected',
    'rejected',
  ]);
  expect(await ask(3)).toBe(3);
});

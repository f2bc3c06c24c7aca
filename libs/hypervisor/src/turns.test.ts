/** Turns: one after the other per key; who does not want to wait leaves, and nothing of it is begun later. */
import { expect, test, vi } from 'vitest';
import { Turns } from './turns.ts';

const held = (turns: Turns, key: string) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const work = turns.take(key, () => promise);
  return { end: resolve, work };
};

test('work of one key never overlaps, whoever fails; of another it does not wait', async () => {
  const turns = new Turns();
  const first = held(turns, 'a');
  const order: string[] = [];
  const failing = turns.take('a', async () => {
    order.push('second');
    throw new Error('on purpose');
  });
  const third = turns.take('a', async () => void order.push('third'));
  await turns.take('b', async () => void order.push('other'));
  expect(order).toEqual(['other']);
  first.end();
  await expect(failing).rejects.toThrow('on purpose');
  await third;
  expect(order).toEqual(['other', 'second', 'third']);
});

test('who waits too long leaves without having begun, and those behind do not wait for that', async () => {
  const turns = new Turns();
  const first = held(turns, 'a');
  let begun = false;
  const left = await turns.takeWithin('a', 10, async () => {
    begun = true;
  });
  expect(left).toBeUndefined();
  const next = turns.takeWithin('a', 10_000, async () => 'next');
  first.end();
  expect(await next).toEqual({ value: 'next' });
  expect(begun).toBe(false);
});

test('who has begun is waited for, however long it takes, and fails as it fails', async () => {
  const turns = new Turns();
  const { promise, reject } = Promise.withResolvers<string>();
  vi.useFakeTimers();
  const turn = turns.takeWithin('a', 5, () => promise);
  turn.catch(() => undefined);
  await vi.advanceTimersByTimeAsync(60_000);
  vi.useRealTimers();
  reject(new Error('on purpose'));
  await expect(turn).rejects.toThrow('on purpose');
});

import { expect, test } from 'vitest';
import { ReplyMemory } from './reply-memory.ts';

test('memory that was given back is taken again, and nothing that was not', () => {
  const memory = new ReplyMemory(1 << 20);
  const [one, two] = [memory.lend(), memory.lend()];
  const first = one.take(5000);
  const second = two.take(5000);
  expect([first.length, second.length]).toEqual([5000, 5000]);
  expect(second.buffer).not.toBe(first.buffer);
  one.give();
  one.give();
  const three = memory.lend();
  expect(three.take(8000).buffer).toBe(first.buffer);
  expect(three.take(8000).buffer, 'it was given back twice, and is had once').not.toBe(first.buffer);
});

test('no more is kept than may be', () => {
  const memory = new ReplyMemory(10_000);
  const lent = memory.lend();
  const taken = [lent.take(4096), lent.take(4096), lent.take(4096)].map(({ buffer }) => buffer);
  lent.give();
  const again = memory.lend();
  const reused = [1, 2, 3].map(() => again.take(1).buffer).filter((buffer) => taken.includes(buffer));
  expect(reused).toHaveLength(2);
});

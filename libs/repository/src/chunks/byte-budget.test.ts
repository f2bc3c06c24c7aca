import { expect, test } from 'vitest';
import { ByteBudget } from './byte-budget.ts';

test('no more bytes are let in than the budget, in the order they came', async () => {
  const budget = new ByteBudget(10);
  const gates = [4, 4, 8, 1].map((bytes) => ({ bytes, gate: Promise.withResolvers<void>() }));
  const started: number[] = [];
  const all = gates.map(({ bytes, gate }, i) =>
    budget.during(bytes, async () => {
      started.push(i);
      await gate.promise;
    }),
  );
  expect(started).toEqual([0, 1]);
  gates[0]?.gate.resolve();
  await all[0];
  // 4 are still in: the 8 wait, and the 1 behind them does not overtake.
  expect(started).toEqual([0, 1]);
  gates[1]?.gate.resolve();
  await all[1];
  expect(started).toEqual([0, 1, 2, 3]);
  gates[2]?.gate.resolve();
  gates[3]?.gate.resolve();
  await Promise.all(all);
});

test('a piece larger than the budget passes alone, and a failure gives its bytes back', async () => {
  const budget = new ByteBudget(10);
  await expect(budget.during(50, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  await expect(budget.during(10, async () => 'in')).resolves.toBe('in');
});

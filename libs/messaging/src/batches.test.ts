import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Batches } from './batches.ts';

test('every item is handled once, in order within its lane, never too many together', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        sizeMax: fc.integer({ min: 1, max: 4 }),
        atOnce: fc.integer({ min: 1, max: 3 }),
        oneOfEachLane: fc.boolean(),
      }),
      fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.boolean()), { maxLength: 30 }),
      fc.scheduler(),
      async (options, items, scheduler) => {
        const handled: [string, number][] = [];
        const atWork = new Set<string>();
        let together = 0;
        const batches = new Batches<[string, number]>({
          ...options,
          laneOf: ([lane]) => lane,
          async run(batch) {
            together += 1;
            expect(together).toBeLessThanOrEqual(options.atOnce);
            expect(batch.length).toBeLessThanOrEqual(options.sizeMax);
            const lanes = new Set(batch.map(([lane]) => lane));
            if (options.oneOfEachLane) expect(lanes.size).toBe(batch.length);
            for (const lane of lanes) {
              expect(atWork.has(lane)).toBe(false);
              atWork.add(lane);
            }
            await scheduler.schedule(Promise.resolve());
            handled.push(...batch);
            for (const lane of lanes) atWork.delete(lane);
            together -= 1;
          },
        });
        for (const [index, [lane, breathe]] of items.entries()) {
          batches.add([lane, index]);
          if (breathe) await new Promise((resolve) => setImmediate(resolve));
        }
        while (handled.length < items.length) {
          await new Promise((resolve) => setImmediate(resolve));
          await scheduler.waitAll();
        }
        expect(handled.map(([, index]) => index).sort((a, b) => a - b)).toEqual(
          items.map((_, index) => index),
        );
        for (const lane of ['a', 'b', 'c']) {
          const order = handled.filter(([each]) => each === lane).map(([, index]) => index);
          expect(order).toEqual(order.toSorted((a, b) => a - b));
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('what comes while a batch is at work is handled together when it has ended', async () => {
  const seen: number[][] = [];
  let finish: () => void = () => undefined;
  const batches = new Batches<number>({
    sizeMax: 10,
    atOnce: 1,
    oneOfEachLane: false,
    laneOf: () => 'one',
    run: (batch) => {
      seen.push([...batch]);
      return new Promise((resolve) => {
        finish = resolve;
      });
    },
  });
  const tick = () => new Promise((resolve) => setImmediate(resolve));
  batches.add(1);
  await tick();
  for (const item of [2, 3, 4]) batches.add(item);
  await tick();
  expect(seen).toEqual([[1]]);
  finish();
  await tick();
  expect(seen).toEqual([[1], [2, 3, 4]]);
});

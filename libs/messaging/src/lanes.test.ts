import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Lanes } from './lanes.ts';

test('every job runs once, in order within its lane, and never too many together', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 30 }),
      fc.scheduler(),
      async (width, jobs, scheduler) => {
        const lanes = new Lanes(width);
        const ran: Record<string, number[]> = {};
        let [together, most] = [0, 0];
        const all = Promise.all(
          jobs.map((lane, index) =>
            lanes.run(lane, async () => {
              together += 1;
              most = Math.max(most, together);
              await scheduler.schedule(Promise.resolve());
              ran[lane] = [...(ran[lane] ?? []), index];
              together -= 1;
            }),
          ),
        );
        await scheduler.waitFor(all);
        expect(most).toBeLessThanOrEqual(width);
        expect(Object.values(ran).flat().length).toBe(jobs.length);
        for (const order of Object.values(ran)) expect(order).toEqual(order.toSorted((a, b) => a - b));
      },
    ),
    { numRuns: 50 },
  );
});

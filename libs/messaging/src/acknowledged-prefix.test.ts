import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AcknowledgedPrefix } from './acknowledged-prefix.ts';

test('the prefix ends right before the first event that is not acknowledged, in whatever order they are', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }).chain((count) =>
        fc.tuple(
          fc.constant(count),
          fc.shuffledSubarray(
            Array.from({ length: count }, (_, index) => index),
            { minLength: 0 },
          ),
        ),
      ),
      ([count, acknowledged]) => {
        const prefix = new AcknowledgedPrefix(0);
        const acknowledge = Array.from({ length: count }, (_, index) => prefix.sent((index + 1) * 10));
        const done = new Set<number>();
        for (const index of acknowledged) {
          acknowledge[index]?.();
          done.add(index);
          let expected = 0;
          while (done.has(expected)) expected += 1;
          expect(prefix.position).toBe(expected * 10);
          expect(prefix.inFlight).toBe(count - expected);
        }
      },
    ),
  );
});

test('positions that need no publishing wait for what stands before them', () => {
  const prefix = new AcknowledgedPrefix(5);
  const acknowledge = prefix.sent(7);
  prefix.passed(90);
  expect(prefix.position).toBe(5);
  acknowledge();
  expect(prefix.position).toBe(90);
});

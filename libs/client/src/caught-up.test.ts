import { expect, test } from 'vitest';
import { caughtUp } from './caught-up.ts';
import { ProblemFault } from './http.ts';

const fault = (status: number): ProblemFault =>
  new ProblemFault({ type: 'about:blank', title: 'x', detail: 'x', status, code: 'X' });

/** Projections that apply one event at each look, and know the thing from a position on. */
function projections({ knownFrom = 3, stands = false } = {}) {
  let checkpoint = 1;
  const finds: number[] = [];
  return {
    finds,
    async find(): Promise<string> {
      finds.push(checkpoint);
      if (checkpoint < knownFrom) throw fault(404);
      return 'found';
    },
    async standing() {
      if (!stands) checkpoint += 1;
      return { logHighWater: 3, checkpoint };
    },
  };
}

test('what the projections do not know yet is found when they have caught up, and asked twice at most', async () => {
  const late = projections();
  expect(await caughtUp(late.find, late.standing)).toBe('found');
  expect(late.finds).toHaveLength(2);
});

test('what nobody knows stays unknown, also where the projections stand still', async () => {
  const none = projections({ knownFrom: Number.POSITIVE_INFINITY });
  await expect(caughtUp(none.find, none.standing)).rejects.toThrow(ProblemFault);
  expect(none.finds).toHaveLength(2);
  const still = projections({ stands: true });
  await expect(caughtUp(still.find, still.standing, 60)).rejects.toThrow(ProblemFault);
  expect(still.finds).toHaveLength(1);
});

test('another problem is told at once', async () => {
  const standing = () => Promise.reject(new Error('is not to be asked'));
  await expect(caughtUp(() => Promise.reject(fault(409)), standing)).rejects.toMatchObject({
    problem: { status: 409 },
  });
});

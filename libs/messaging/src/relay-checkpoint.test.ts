import { expect, test } from 'vitest';
import { reasonToRefill } from './relay-checkpoint.ts';

const created = '2026-01-01T00:00:00.000000001Z';
const checkpoint = { position: 40, streamCreated: created, streamSequence: 12 };
const ours = 'evt.planner.plan.1.PlanRefused';

test('a stream that holds what was published to it is not filled again', () => {
  expect(reasonToRefill(checkpoint, { created, subjectThere: ours }, 'planner')).toBeUndefined();
  const nothingYet = { ...checkpoint, streamSequence: 0 };
  expect(reasonToRefill(nothingYet, { created, subjectThere: undefined }, 'planner')).toBeUndefined();
});

test('a stream that was made anew is filled again, whatever it holds', () => {
  const stream = { created: '2026-01-01T00:00:00.000000002Z', subjectThere: ours };
  expect(reasonToRefill(checkpoint, stream, 'planner')).toContain('made anew');
});

test.each([
  ['ends before it', undefined],
  ['has grown over it since, by what others publish', 'evt.trigger.vm.1.VmClaimed'],
])('a stream that came back from a copy and %s is filled again', (_, subjectThere) => {
  expect(reasonToRefill(checkpoint, { created, subjectThere }, 'planner')).toContain('no longer there');
});

import { expect, test } from 'vitest';
import { reasonToRefill } from './relay-checkpoint.ts';

const checkpoint = { position: 40, streamCreated: '2026-01-01T00:00:00.000000001Z', streamSequence: 12 };

test('a stream that holds what was published to it is not filled again', () => {
  expect(reasonToRefill(checkpoint, { created: checkpoint.streamCreated, lastSequence: 12 })).toBeUndefined();
});

test('a stream that was made anew is filled again, even when it is longer', () => {
  const created = '2026-01-01T00:00:00.000000002Z';
  expect(reasonToRefill(checkpoint, { created, lastSequence: 500 })).toContain('made anew');
});

test('a stream that came back from a copy and ends earlier is filled again', () => {
  expect(reasonToRefill(checkpoint, { created: checkpoint.streamCreated, lastSequence: 11 })).toContain(
    'ends at 11',
  );
});

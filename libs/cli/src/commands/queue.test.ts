import { expect, test } from 'vitest';
import { queueLines } from './queue.ts';

test('each run that waits is a line: who, how old, what for, where in the line, and when', () => {
  const now = Date.parse('2026-01-01T03:30:00Z');
  const lines = queueLines(
    [
      {
        ...{
          hostId: 'lab',
          vmId: 'web-1',
          purpose: 'recovery',
          runId: '0f8fad5b-d9cb-469f-a165-70867728950e',
        },
        ...{ priority: 'high', askedAt: '2026-01-01T03:00:00.000Z', waitsFor: 'leave to begin' },
        because: '4 of at most 4 snapshots are open on host lab',
        ...{ place: 1, of: 12, startsInSeconds: 240, estimate: 'in about 4 min' },
      },
    ],
    now,
  );
  expect(lines[0]).toMatch(/RUN +WHAT +HOST +VM +PRIORITY +AGE +FOR +PLACE +STARTS +BECAUSE/);
  expect(lines[1]).toMatch(
    /0f8fad5b +recovery +lab +web-1 +high +30 min +leave to begin +1\/12 +in about 4 min +4 of at most 4/,
  );
});

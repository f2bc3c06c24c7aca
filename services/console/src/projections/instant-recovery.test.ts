import { expect, test } from 'vitest';
import { explainRecovery } from '../explain-recovery.ts';
import { projected } from '../projection.ts';
import { backupIdOf, recorded } from '../testing/story.ts';
import { instantStory } from '../testing/story-of-instant.ts';
import { obligations } from './obligations.ts';
import { recoveries } from './recoveries.ts';

const whole = recorded(instantStory({ name: 'r1', backup: 'b1' }));
const filling = recorded(instantStory({ name: 'r1', backup: 'b1', until: 'filling' }));

test('an instant recovery runs and shows how much of its disks is filled, and completes when all of them are', () => {
  const [during] = projected(recoveries, filling);
  expect(during).toMatchObject({
    state: 'filling',
    instant: true,
    started: true,
    interruptions: 1,
    endedAt: null,
  });
  // What is passed once more was filled already.
  expect(during?.filledBytes).toBeGreaterThan(0);
  expect(during?.runningAt).not.toBeNull();
  const [row] = projected(recoveries, whole);
  expect(row).toMatchObject({ state: 'completed', started: true });
  expect(row?.filledBytes).toBe((during?.filledBytes ?? 0) * 2);
});

test('its disks and its mount are owed for as long as it is not whole', () => {
  const kinds = projected(obligations, filling).map(({ kind, state, closedBy }) => [kind, state, closedBy]);
  expect(kinds.sort()).toEqual([
    ['mount', 'standing', 'MountClosed'],
    ['target', 'standing', 'TargetFilled, TargetLeft or TargetDiscarded'],
  ]);
  expect(projected(obligations, whole)).toEqual([]);
});

test('it is explained with how soon the VM ran, and what broke on the way', () => {
  const lines = explainRecovery(backupIdOf('r1'), whole)?.lines.join('\n');
  expect(lines).toMatch(/at once, before its disks are filled/);
  expect(lines).toMatch(/VM web-2 ran -?\d+\.\d s after the request; 32 MiB of 32 MiB are filled\./);
  expect(lines).toMatch(/Lost: Filling of the disks: the VM has ended\./);
});

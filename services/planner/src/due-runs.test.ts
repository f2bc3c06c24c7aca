import type { EventType, Recorded } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { dueRun } from './due-runs.ts';

const said = (...types: EventType[]): Recorded[] =>
  types.map((type, index) => ({ type, version: index + 1 }) as unknown as Recorded);
const isDue = (...types: EventType[]): boolean => dueRun('BackupTriggered', said(...types)).isDue;

test('a run is planned once it was triggered', () => {
  expect(isDue('BackupTriggered')).toBe(true);
  expect(isDue('BackupQueued')).toBe(false);
  expect(dueRun('BackupTriggered', said('BackupQueued', 'BackupTriggered'))).toMatchObject({
    ...{ isDue: true, triggered: { version: 2 } },
  });
});

test('not while it is paused, whether before or after its turn came; and when it goes on', () => {
  expect(isDue('BackupTriggered', 'BackupPaused')).toBe(false);
  expect(isDue('BackupQueued', 'BackupPaused', 'BackupTriggered')).toBe(false);
  expect(isDue('BackupQueued', 'BackupPaused', 'BackupTriggered', 'BackupResumed')).toBe(true);
  expect(isDue('BackupQueued', 'BackupPaused', 'BackupResumed')).toBe(false);
});

test('never when it is to end', () => {
  expect(isDue('BackupTriggered', 'BackupCancelOrdered')).toBe(false);
  expect(isDue('BackupTriggered', 'BackupPaused', 'BackupCancelOrdered', 'BackupResumed')).toBe(false);
});

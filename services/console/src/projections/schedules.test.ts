/** What the list of schedules shows. */
import { expect, test } from 'vitest';
import { projected } from '../projection.ts';
import { recorded, teller } from '../testing/story.ts';
import { backups } from './backups.ts';
import { schedules } from './schedules.ts';

test('a schedule counts its firings over a new definition, says that it was set back, and is gone when removed', () => {
  const tell = teller('s');
  const define = (cron: string): void =>
    tell.append('schedule', 'nightly', 'ScheduleDefined', {
      scheduleId: 'nightly',
      cron,
      timeZone: 'UTC',
      hostId: 'lab',
      vmId: 'web-1',
      kind: 'auto',
      policyId: 'default',
      definedAt: '2026-01-01T00:00:00.000Z',
    });
  define('0 1 * * *');
  tell.append('schedule', 'nightly', 'ScheduleFired', {
    scheduleId: 'nightly',
    dueAt: '2026-01-02T01:00:00.000Z',
    firedAt: '2026-01-02T01:00:00.100Z',
    backupId: 'b1',
  });
  define('0 2 * * *');
  expect(projected(schedules, recorded(tell.told))).toEqual([
    expect.objectContaining({ cron: '0 2 * * *', fired: 1, lastBackupId: 'b1' }),
  ]);
  expect(projected(backups, recorded(tell.told))).toEqual([]);
  tell.append('schedule', 'nightly', 'ScheduleSetBack', {
    scheduleId: 'nightly',
    from: '2030-01-02T01:00:00.000Z',
    to: '2026-01-02T01:00:00.000Z',
    setBackAt: '2026-01-02T09:00:00.000Z',
  });
  const setBack = { setBackFrom: '2030-01-02T01:00:00.000Z', setBackAt: '2026-01-02T09:00:00.000Z' };
  expect(projected(schedules, recorded(tell.told))).toEqual([
    expect.objectContaining({ lastDueAt: '2026-01-02T01:00:00.000Z', ...setBack }),
  ]);
  define('0 3 * * *');
  expect(projected(schedules, recorded(tell.told))).toEqual([
    expect.objectContaining({ setBackFrom: null, setBackAt: null }),
  ]);
  tell.append('schedule', 'nightly', 'ScheduleRemoved', {
    scheduleId: 'nightly',
    removedAt: '2026-01-03T00:00:00.000Z',
  });
  expect(projected(schedules, recorded(tell.told))).toEqual([]);
});

/** Schedules that stand, and when each last asked for a backup. */
import type { consoleApi } from '@backhaul/contracts';
import type { Projection } from '../projection.ts';

type ScheduleView = consoleApi.ScheduleView;

export const schedules: Projection<ScheduleView> = {
  table: 'schedules',
  key: ['scheduleId'],
  columns: {
    scheduleId: 'text',
    cron: 'text',
    timeZone: 'text',
    hostId: 'text',
    vmId: 'text',
    kind: 'text',
    policyId: 'text',
    priority: 'text',
    definedAt: 'instant',
    fired: 'integer',
    lastDueAt: 'instant',
    lastBackupId: 'text',
    setBackFrom: 'instant',
    setBackAt: 'instant',
    position: 'bigint',
  },
  indexes: [],
  concerns: (event) =>
    event.category === 'schedule' && 'scheduleId' in event.data
      ? [{ scheduleId: event.data.scheduleId }]
      : [],
  evolve(row, event) {
    switch (event.type) {
      case 'ScheduleDefined':
        return {
          ...event.data,
          priority: event.data.priority ?? null,
          fired: row?.fired ?? 0,
          lastDueAt: row?.lastDueAt ?? null,
          lastBackupId: row?.lastBackupId ?? null,
          setBackFrom: null,
          setBackAt: null,
        };
      case 'ScheduleFired':
        return row === undefined
          ? undefined
          : {
              ...row,
              fired: row.fired + 1,
              lastDueAt: event.data.dueAt,
              lastBackupId: event.data.backupId,
            };
      case 'ScheduleSetBack':
        return row === undefined
          ? undefined
          : {
              ...row,
              lastDueAt: event.data.to,
              setBackFrom: event.data.from,
              setBackAt: event.data.setBackAt,
            };
      case 'ScheduleRemoved':
        return undefined;
      default:
        return row;
    }
  },
};

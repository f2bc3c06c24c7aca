/**
 * Who comes before whom: priority and age in one number that never changes. A run's turn is the moment that it was asked for, less a
 * head start that its priority is worth. So no line is ever sorted again, and nothing starves: a run can be overtaken only by those
 * that are asked for within the difference of two head starts (docs/adr/0017).
 */
import { z } from 'zod';

export const Priority = z.enum(['low', 'normal', 'high', 'urgent']);
export type Priority = z.infer<typeof Priority>;

/** `high` overtakes all that a night of backups has queued up; `urgent` whatever has queued up since the day before yesterday. */
const headStartHours: Record<Priority, number> = { low: -12, normal: 0, high: 12, urgent: 48 };

const HOUR_MILLISECONDS = 3_600_000;

/** In milliseconds since the epoch: the smaller comes first. */
export const turnOf = ({
  priority,
  askedAt,
}: {
  readonly priority: Priority;
  readonly askedAt: string;
}): number => Date.parse(askedAt) - headStartHours[priority] * HOUR_MILLISECONDS;

/** How many times as much as one of weight 1 a run may hold before the other comes first. */
export const weightOf = (priority: Priority): number => ({ low: 1, normal: 2, high: 4, urgent: 8 })[priority];

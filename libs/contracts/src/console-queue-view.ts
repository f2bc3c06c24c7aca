/** What `GET /api/v1/queue` answers: every run that waits, what it waits for, and when it would start. */
import { z } from 'zod';
import { Priority } from './priority.ts';
import { Instant, Purpose } from './vocabulary.ts';

const count = z.int().nonnegative();

export const QueueView = z.object({
  hostId: z.string(),
  vmId: z.string(),
  purpose: Purpose,
  runId: z.string(),
  priority: Priority,
  askedAt: Instant,
  waitsFor: z.enum(['turn', 'leave to begin', 'proxies', 'ports', 'to be resumed']),
  /** In one sentence. */
  because: z.string(),
  /** From 1, of so many that wait for the same. */
  place: count,
  of: count,
  /** Null: nobody can say, and `estimate` says why. */
  startsInSeconds: count.nullable(),
  estimate: z.string(),
});
export type QueueView = z.infer<typeof QueueView>;

/**
 * What becomes of a message whose handler failed. The one place that decides between trying again and giving up.
 */
import { Fault, isPermanent } from '@backhaul/kernel';
import pg from 'pg';

export interface RetryPolicy {
  /** Deliveries after which even a fault that could mend goes to the dead letters. */
  readonly attemptsMax: number;
  readonly firstDelayMilliseconds: number;
  readonly delayMillisecondsMax: number;
}

/** About six minutes from the first attempt to the last. */
export const defaultRetryPolicy: RetryPolicy = {
  attemptsMax: 20,
  firstDelayMilliseconds: 100,
  delayMillisecondsMax: 30_000,
};

export type Verdict = { readonly retryAfterMilliseconds: number } | 'dead-letter';

/** `attempt` counts deliveries from 1. */
export function judge(error: unknown, attempt: number, policy: RetryPolicy): Verdict {
  const retryAfterMilliseconds = Math.min(
    policy.firstDelayMilliseconds * 2 ** Math.min(attempt - 1, 30),
    policy.delayMillisecondsMax,
  );
  // With the database away nothing can be handled, nor can a dead letter be kept: the message is not at fault.
  if (isDatabaseAway(error)) return { retryAfterMilliseconds };
  if (isPermanent(error) || attempt >= policy.attemptsMax) return 'dead-letter';
  return { retryAfterMilliseconds };
}

/** Connection exceptions (class 08), shutdowns (57P), too many connections (PostgreSQL manual, appendix A). */
const AWAY = /^(08...|57P0[1-5]|53300)$/;

/** A connection to Postgres that failed leaves the event store as a Fault with the code `ConnectionLost`. */
export const isDatabaseAway = (error: unknown): boolean =>
  causes(error).some(
    (cause) =>
      (cause instanceof Fault && cause.code === 'ConnectionLost') ||
      (cause instanceof pg.DatabaseError && AWAY.test(cause.code ?? '')),
  );

/** Two transactions met (or two writers of one stream): the same handler can run again at once. */
export const isConflict = (error: unknown): boolean =>
  causes(error).some((cause) => ['40001', '40P01', 'VersionConflict'].includes(codeOf(cause)));

const codeOf = (error: Error): string =>
  'code' in error && typeof error.code === 'string' ? error.code : '';

function causes(error: unknown): Error[] {
  const found: Error[] = [];
  for (let current = error; current instanceof Error && !found.includes(current); current = current.cause)
    found.push(current);
  return found;
}

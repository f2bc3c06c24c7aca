/**
 * What becomes of a message whose handler failed. The one place that decides between trying again and giving up.
 */
import { Fault, isPermanent } from '@backhaul/kernel';
import pg from 'pg';

export interface RetryPolicy {
  /** Failures of its own, in one process, after which a message goes to the dead letters even for a fault that could mend. */
  readonly attemptsMax: number;
  readonly firstDelayMilliseconds: number;
  readonly delayMillisecondsMax: number;
}

/** About six minutes from the first failure to the last. */
export const defaultRetryPolicy: RetryPolicy = {
  attemptsMax: 20,
  firstDelayMilliseconds: 100,
  delayMillisecondsMax: 30_000,
};

export type Verdict = { readonly retryAfterMilliseconds: number } | 'dead-letter';

export interface Tried {
  /** From 1, over all processes, whatever they were for. */
  readonly deliveries: number;
  /** Of the message's own, in this process. */
  readonly failures: number;
}

/**
 * Processes may come and go faster than a message fails as often as it may in one of them, and each begins to count anew. So there is a
 * bound on deliveries as well, far beyond what outages and stops make of them in a day, for a message that fails even then.
 */
const DELIVERIES_MAX_FACTOR = 500;
const FAILURES_THEN = 5;

export function judge(error: unknown, { deliveries, failures }: Tried, policy: RetryPolicy): Verdict {
  const { attemptsMax } = policy;
  // With the database away nothing can be handled, nor can a dead letter be kept: the message is not at fault.
  if (isDatabaseAway(error)) return { retryAfterMilliseconds: delayAfter(deliveries, policy) };
  if (isPermanent(error) || failures >= attemptsMax) return 'dead-letter';
  if (deliveries >= attemptsMax * DELIVERIES_MAX_FACTOR && failures >= FAILURES_THEN) return 'dead-letter';
  return { retryAfterMilliseconds: delayAfter(failures, policy) };
}

const delayAfter = (times: number, { firstDelayMilliseconds, delayMillisecondsMax }: RetryPolicy): number =>
  Math.min(firstDelayMilliseconds * 2 ** Math.min(Math.max(times - 1, 0), 30), delayMillisecondsMax);

/** Connection exceptions (class 08), shutdowns (57P), too many connections (PostgreSQL manual, appendix A). */
const AWAY = /^(08...|57P0[1-5]|53300|25006)$/;

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

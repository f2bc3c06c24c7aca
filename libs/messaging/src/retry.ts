/**
 * What becomes of a message whose handler failed. The one place that decides between trying again and giving up.
 */
import { Fault, hasCode, isPermanent } from '@backhaul/kernel';
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
  if (isNotItsOwn(error)) return { retryAfterMilliseconds: delayAfter(deliveries, policy) };
  if (isPermanent(error) || failures >= attemptsMax) return 'dead-letter';
  if (deliveries >= attemptsMax * DELIVERIES_MAX_FACTOR && failures >= FAILURES_THEN) return 'dead-letter';
  return { retryAfterMilliseconds: delayAfter(failures, policy) };
}

const delayAfter = (times: number, { firstDelayMilliseconds, delayMillisecondsMax }: RetryPolicy): number =>
  Math.min(firstDelayMilliseconds * 2 ** Math.min(Math.max(times - 1, 0), 30), delayMillisecondsMax);

/**
 * The message is not at fault: with the database away nothing can be handled, nor can a dead letter be kept; and what a newer release
 * has stored waits for a process of that release, which may come at any time.
 */
export const isNotItsOwn = (error: unknown): boolean =>
  isDatabaseAway(error) || hasCode(error, 'NewerRelease');

/**
 * What the server was short of, whatever it was asked (PostgreSQL manual, appendix A): connections (class 08), memory, disk or slots (53),
 * its storage (58), itself (57P, 25006: a standby answers), or a lock that somebody holds for long, an index that is built, say: then a
 * statement runs out of its time (57014) or of its patience (55P03).
 */
const AWAY = /^(08...|53...|58...|57P0[1-5]|57014|55P03|25006)$/;

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

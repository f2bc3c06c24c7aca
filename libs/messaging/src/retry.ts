/**
 * What becomes of a message whose handler failed. The one place that decides between trying again and giving up.
 */
import { isPermanent } from '@backhaul/kernel';

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

/** Connection exceptions (class 08), shutdowns (57P), too many connections; and what the socket says. */
const AWAY = /^(08...|57P0[1-5]|53300|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EHOSTUNREACH)$/;
const AWAY_MESSAGE =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered)/;

export const isDatabaseAway = (error: unknown): boolean =>
  causes(error).some(
    (cause) => isFromPostgres(cause) && (AWAY.test(codeOf(cause)) || AWAY_MESSAGE.test(cause.message)),
  );

/** Two transactions met (or two writers of one stream): the same handler can run again at once. */
export const isConflict = (error: unknown): boolean =>
  causes(error).some((cause) => ['40001', '40P01', 'VersionConflict'].includes(codeOf(cause)));

const codeOf = (error: Error): string =>
  'code' in error && typeof error.code === 'string' ? error.code : '';

/** A refused connection inside a handler may be to a host or a proxy: only those of the pg driver count. */
const isFromPostgres = (error: Error): boolean => {
  const text = `${error.stack ?? ''}`;
  return 'severity' in error || /[/\\]pg(-pool|-protocol)?[/\\]/.test(text);
};

function causes(error: unknown): Error[] {
  const found: Error[] = [];
  for (let current = error; current instanceof Error && !found.includes(current); current = current.cause)
    found.push(current);
  return found;
}

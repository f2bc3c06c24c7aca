/**
 * What an error of Postgres means to the one place that retries: retryable when the server, the network or another
 * transaction was in the way; permanent when the same statement would fail again.
 */
import { Fault } from '@backhaul/kernel';
import pg from 'pg';

/** SQLSTATE classes and codes (PostgreSQL manual, appendix A) that another try can mend. */
const RETRYABLE_CLASSES = ['08', '40', '53', '57', '58'];
const RETRYABLE_STATES = [
  '55P03', // lock_not_available
  '25P03', // idle_in_transaction_session_timeout
  '25P04', // transaction_timeout
  '25006', // read_only_sql_transaction: a standby answers, until it is promoted or the primary is back
];

/** The SQLSTATE, when the server itself answered with an error, however deep it lies among the causes. */
export function stateOf(error: unknown): string | undefined {
  for (let current = error; current instanceof Error; current = current.cause) {
    if (current instanceof pg.DatabaseError) return current.code;
  }
  return undefined;
}

/** `error` with the operation it came from. A Fault keeps what it says of itself. */
export function postgresFault(operation: string, error: unknown): Fault {
  if (error instanceof Fault) return error;
  const state = stateOf(error);
  // Without a SQLSTATE it is the connection that failed: refused, reset, timed out or closed under the query.
  const retryable =
    state === undefined || RETRYABLE_CLASSES.includes(state.slice(0, 2)) || RETRYABLE_STATES.includes(state);
  return new Fault(`${operation} failed`, {
    cause: error,
    permanent: !retryable,
    code: state ?? 'ConnectionLost',
  });
}

/**
 * What time it is by the clock of the log: one clock for every instance of every service, and the one that `recordedAt` is of. For
 * decisions that a wrong clock of one machine must not make; it can be wrong itself, and go back.
 */
import { sql } from 'kysely';
import type { EventStore, EventTransaction } from './event-store.ts';

/** Of this very moment, also within a transaction. To the millisecond. */
export async function logTime({ kysely }: Pick<EventStore | EventTransaction, 'kysely'>): Promise<string> {
  const { rows } = await sql<{
    milliseconds: number;
  }>`select (extract(epoch from clock_timestamp()) * 1000)::double precision as milliseconds`.execute(kysely);
  const [{ milliseconds } = { milliseconds: Number.NaN }] = rows;
  return new Date(milliseconds).toISOString();
}

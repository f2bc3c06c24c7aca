/** Seals and the rows they are about, as they lie in Postgres. */

import { sql } from 'kysely';
import type { EventStore, EventTransaction } from '../event-store.ts';
import { type Entry, entryOf, SEALED_COLUMNS, type SealedRow } from './fingerprint.ts';

type Reader = EventStore | EventTransaction;

export interface StoredSeal {
  readonly seal: number;
  readonly statement: string;
  readonly signature: Buffer;
  readonly entries: Buffer;
}

/** The first above a number; undefined when there is none. */
export async function nextSeal(on: Reader, above: number): Promise<StoredSeal | undefined> {
  const { rows } = await sql<StoredSeal>`
    select seal, statement, signature, entries from public.seals where seal > ${above}
    order by seal limit 1`.execute(on.kysely);
  return rows[0];
}

export async function newestSeal(on: Reader): Promise<Pick<StoredSeal, 'seal' | 'statement'> | undefined> {
  const { rows } = await sql<StoredSeal>`
    select seal, statement from public.seals order by seal desc limit 1`.execute(on.kysely);
  return rows[0];
}

/** What the log holds at the positions above `after` up to `through`, at most `limit` events, in order. */
export async function entriesOf(on: Reader, after: number, through: number, limit: number): Promise<Entry[]> {
  const { rows } = await sql<{ row: SealedRow }>`
    select array[${sql.raw(SEALED_COLUMNS)}] as row from public.events
    where position > ${after} and position <= ${through} order by position limit ${limit}`.execute(on.kysely);
  return rows.map(({ row }) => entryOf(row));
}

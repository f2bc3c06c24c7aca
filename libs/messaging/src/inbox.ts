/**
 * What a consumer has handled, one row per message. Written in the handler's own transaction, so that the row and what
 * the handler did become true together.
 */

import type { EventStore, EventTransaction } from '@backhaul/event-store';
import { sql } from 'kysely';

type Database = EventStore['kysely'];

/** False when the message was handled before. Waits for another transaction that is handling it right now. */
export async function remember(
  { kysely }: { kysely: Database } | EventTransaction,
  consumer: string,
  inboxKey: string,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    insert into public.inbox (consumer, event_id) values (${consumer}, ${inboxKey})
    on conflict do nothing`.execute(kysely);
  return numAffectedRows === 1n;
}

export async function isRemembered(
  { kysely }: { kysely: Database },
  consumer: string,
  inboxKey: string,
): Promise<boolean> {
  const { rows } = await sql`
    select 1 from public.inbox where consumer = ${consumer} and event_id = ${inboxKey}`.execute(kysely);
  return rows.length > 0;
}

export async function forget(
  { kysely }: { kysely: Database } | EventTransaction,
  consumer: string,
  inboxKey: string,
): Promise<void> {
  await sql`delete from public.inbox where consumer = ${consumer} and event_id = ${inboxKey}`.execute(kysely);
}

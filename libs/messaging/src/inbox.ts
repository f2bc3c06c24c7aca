/**
 * What a consumer has handled, one row per message. Written in the handler's own transaction, so that the row and what
 * the handler did become true together.
 */
import type { EventStore, EventTransaction } from '@backhaul/event-store';
import { sql } from 'kysely';

/** False when the message was handled before. Waits for another transaction that is handling it right now. */
export async function remember(
  transaction: EventTransaction,
  consumer: string,
  inboxKey: string,
): Promise<boolean> {
  // On the way of every message: a statement that the server has prepared already.
  const { rowCount } = await transaction.client.query({
    name: 'remember_message',
    text: 'insert into public.inbox (consumer, event_id) values ($1, $2) on conflict do nothing',
    values: [consumer, inboxKey],
  });
  return rowCount === 1;
}

export async function isRemembered(store: EventStore, consumer: string, inboxKey: string): Promise<boolean> {
  const { rows } = await sql`
    select 1 from public.inbox where consumer = ${consumer} and event_id = ${inboxKey}`.execute(store.kysely);
  return rows.length > 0;
}

export async function forget(
  transaction: EventTransaction,
  consumer: string,
  inboxKey: string,
): Promise<void> {
  await transaction.client.query('delete from public.inbox where consumer = $1 and event_id = $2', [
    consumer,
    inboxKey,
  ]);
}

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
  return (await rememberEach(transaction, consumer, [inboxKey])).has(inboxKey);
}

/** Of several messages those that were not handled before. */
export async function rememberEach(
  transaction: EventTransaction,
  consumer: string,
  inboxKeys: readonly string[],
): Promise<ReadonlySet<string>> {
  // On the way of every message: a statement that the server has prepared already. In one order, so that two who are given the
  // same messages wait for each other and never in a ring.
  const { rows } = await transaction.client.query<{ event_id: string }>({
    name: 'remember_messages',
    text: `insert into public.inbox (consumer, event_id) select $1, unnest($2::text[])
           on conflict do nothing returning event_id`,
    values: [consumer, inboxKeys.toSorted()],
  });
  return new Set(rows.map((row) => row.event_id));
}

/** Of several messages those that were handled. */
export async function rememberedOf(
  store: EventStore,
  consumer: string,
  inboxKeys: readonly string[],
): Promise<ReadonlySet<string>> {
  const { rows } = await sql<{ event_id: string }>`
    select event_id from public.inbox where consumer = ${consumer} and event_id = any(${[...inboxKeys]})`.execute(
    store.kysely,
  );
  return new Set(rows.map((row) => row.event_id));
}

/** Notes work that is done, outside any transaction. */
export async function noteDone(
  store: EventStore,
  consumer: string,
  inboxKeys: readonly string[],
): Promise<void> {
  await sql`
    insert into public.inbox (consumer, event_id) select ${consumer}, unnest(${inboxKeys.toSorted()}::text[])
    on conflict do nothing`.execute(store.kysely);
}

export async function forget(
  transaction: EventTransaction,
  consumer: string,
  ...inboxKeys: readonly string[]
): Promise<void> {
  await transaction.client.query(
    'delete from public.inbox where consumer = $1 and event_id = any($2::text[])',
    [consumer, inboxKeys],
  );
}

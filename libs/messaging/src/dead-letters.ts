/**
 * Messages that a handler gave up, kept whole with the reason until somebody sends them again. A dead letter has its inbox row:
 * the message counts as handled, also when NATS is filled again. Redrive takes that row away.
 */
import type { EventStore } from '@backhaul/event-store';
import { derivedId, Fault, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { sql } from 'kysely';
import { headers as natsHeaders } from 'nats';
import type { Delivery } from './delivery.ts';
import { inboxKeyOf, ORIGINAL_ID } from './identity.ts';
import { forget, remember } from './inbox.ts';
import type { Link } from './link.ts';

const REASON_CHARACTERS_MAX = 4_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Keeps the message and marks it handled, together. Twice the same message is kept once. */
export async function keepDeadLetter(
  store: EventStore,
  consumer: string,
  delivery: Delivery,
  reason: string,
): Promise<void> {
  const { subject, headers, body, identity } = delivery;
  const eventId = headers['ce-id'] ?? '';
  await store.transaction(async (transaction) => {
    if (!(await remember(transaction, consumer, identity.inboxKey))) return;
    await sql`
      insert into public.dead_letters (consumer, subject, message_id, headers, body, reason, event_id)
      values (${consumer}, ${subject}, ${identity.messageId}, ${storableJson(headers)}, ${Buffer.from(body)},
              ${storableText(reason).slice(0, REASON_CHARACTERS_MAX)}, ${UUID.test(eventId) ? eventId : null})`.execute(
      transaction.kysely,
    );
  });
}

interface Row {
  consumer: string;
  subject: string;
  message_id: string;
  headers: Record<string, string>;
  body: Buffer;
  redriven_at: string | null;
}

/**
 * Sends a dead letter again, once. The published copy has a fresh id, or JetStream would take it for a duplicate; other consumers of
 * the same event know it by its original id and skip it.
 */
export async function redriveDeadLetter(
  store: EventStore,
  link: Link,
  id: number,
): Promise<Result<void, Refusal>> {
  return await store.transaction(async (transaction) => {
    const { rows } = await sql<Row>`
      select consumer, subject, message_id, headers, body, redriven_at::text
      from public.dead_letters where id = ${id} for update`.execute(transaction.kysely);
    const letter = rows[0];
    if (letter === undefined)
      return refuse({ code: 'NoSuchDeadLetter', message: `There is no dead letter ${id}.` });
    if (letter.redriven_at !== null) {
      const message = `Dead letter ${id} was sent again at ${letter.redriven_at} already.`;
      return refuse({ code: 'AlreadyRedriven', message });
    }
    await forget(transaction, letter.consumer, inboxKeyOf(letter.message_id));
    await sql`update public.dead_letters set redriven_at = now() where id = ${id}`.execute(
      transaction.kysely,
    );
    // Published before the commit: at worst it is there twice, and the inbox row of the first stops the second. A consumer that
    // is quicker than the commit waits for it at the row that is being taken away.
    await publishAgain(link, letter, derivedId('redrive', letter.consumer, letter.message_id, id));
    return ok(undefined);
  });
}

async function publishAgain(link: Link, letter: Row, messageId: string): Promise<void> {
  const session = await link.session(AbortSignal.timeout(5_000));
  const headers = natsHeaders();
  for (const [name, value] of Object.entries(letter.headers)) headers.set(name, value);
  headers.delete('nats-msg-id');
  headers.set(ORIGINAL_ID, letter.message_id);
  try {
    await session.jetstream.publish(letter.subject, letter.body, { headers, msgID: messageId });
  } catch (cause) {
    throw new Fault(`Sending ${letter.message_id} to ${letter.subject} again failed`, { cause });
  }
}

/** Postgres keeps no NUL in text and no unpaired surrogate in jsonb; a message that is broken may hold both. */
const storableText = (text: string): string => text.toWellFormed().replaceAll('\u0000', '\ufffd');
const storableJson = (headers: object): string =>
  JSON.stringify(headers, (_, value) => (typeof value === 'string' ? storableText(value) : value));

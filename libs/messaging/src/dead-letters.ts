/**
 * Messages that a handler gave up, kept whole with the reason until somebody has them sent again. A dead letter has its inbox row:
 * the message counts as handled, also when NATS is filled again. That somebody has it sent again is an event of the trigger
 * (docs/adr/0011); the service that had given it up then takes that row away, and sends it.
 */
import type { Recorded } from '@backhaul/contracts';
import type { EventStore, EventTransaction } from '@backhaul/event-store';
import { derivedId, Fault } from '@backhaul/kernel';
import { sql } from 'kysely';
import { headers as natsHeaders } from 'nats';
import type { Delivery } from './delivery.ts';
import { inboxKeyOf, keyOfId, ORIGINAL_ID } from './identity.ts';
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

/** A dead letter, as far as one needs to know it who decides whether it is sent again. */
export interface DeadLetter {
  readonly deadLetterId: string;
  readonly consumer: string;
  readonly subject: string;
  readonly messageId: string;
  /** The message's id as part of a stream's name: the same for every letter of one message. */
  readonly messageKey: string;
  readonly eventId: string | null;
  readonly reason: string;
  /** Of the event that it was; undefined for what was none. */
  readonly correlation: string | undefined;
}

/** Any service's: they are for all to see. `deadLetterId`: a whole number in digits. */
export async function findDeadLetter(
  on: EventStore | EventTransaction,
  deadLetterId: string,
): Promise<DeadLetter | undefined> {
  const { rows } = await sql<{
    consumer: string;
    subject: string;
    message_id: string;
    event_id: string | null;
    reason: string;
    correlation: string | null;
  }>`
    select consumer, subject, message_id, event_id, reason, headers ->> 'x-correlation' as correlation
    from public.dead_letters where id = ${deadLetterId}`.execute(on.kysely);
  const row = rows[0];
  if (row === undefined) return undefined;
  return {
    deadLetterId,
    consumer: row.consumer,
    subject: row.subject,
    messageId: row.message_id,
    messageKey: keyOfId(row.message_id),
    eventId: row.event_id,
    reason: row.reason,
    correlation: row.correlation !== null && UUID.test(row.correlation) ? row.correlation : undefined,
  };
}

/**
 * What a service does about `DeadLetterRedriven`, as often as it is told: the message can be handled again, and is sent again. The first
 * stands before the second begins, because a consumer of long work only looks whether there is an inbox row and does not wait for one
 * to go. A process that dies in between is told again, and then finds the first done; a copy that was sent twice is handled once.
 */
export async function redriveDeadLetter(
  store: EventStore,
  link: Link,
  event: Recorded<'DeadLetterRedriven'>,
  signal: AbortSignal,
): Promise<void> {
  const letter = await letHandleAgain(store, event.data.deadLetterId);
  await publishAgain(link, letter, derivedId('redrive', event.eventId), signal);
}

interface Row {
  consumer: string;
  subject: string;
  message_id: string;
  headers: Record<string, string>;
  body: Buffer;
  redriven_at: string | null;
}

/** Takes the inbox row away, once: when it is there again, the copy was handled. */
export async function letHandleAgain(store: EventStore, deadLetterId: string): Promise<Row> {
  return await store.transaction(async (transaction) => {
    const { rows } = await sql<Row>`
      select consumer, subject, message_id, headers, body, redriven_at::text
      from public.dead_letters where id = ${deadLetterId} for update`.execute(transaction.kysely);
    const letter = rows[0];
    if (letter === undefined)
      throw new Fault(`Dead letter ${deadLetterId} is gone: it cannot be sent again`, { permanent: true });
    if (letter.redriven_at === null) {
      const { consumer, subject, message_id: messageId, body } = letter;
      await forget(transaction, consumer, inboxKeyOf({ subject, messageId, body }));
      await sql`update public.dead_letters set redriven_at = now() where id = ${deadLetterId}`.execute(
        transaction.kysely,
      );
    }
    return letter;
  });
}

/** The copy has a fresh id, or JetStream would take it for a duplicate; other consumers know it by its original id and skip it. */
async function publishAgain(link: Link, letter: Row, messageId: string, signal: AbortSignal): Promise<void> {
  const session = await link.session(signal);
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

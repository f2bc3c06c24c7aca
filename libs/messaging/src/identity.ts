/**
 * Which message this is, over every way it can come again: redelivered, published twice, refilled into a new NATS, or
 * sent again from the dead letters. Four ids are in play, and each answers a question of its own:
 * - `requestId`, in a request's body: which wish this is. Its sender's; a backup's id is derived from it, and answers go to
 *   `ans.<requestId>`. A request that is repeated or corrected, and an order about a run, may come under the same one.
 * - `Nats-Msg-Id`, a header: which sending this is. JetStream drops a second one of five minutes, whatever it says, and acknowledges it
 *   all the same. An event's is its event id, so that a relay may publish it again; whoever sends a request makes a new one each time.
 * - the inbox key, made here: whether this consumer has handled it. Of an event, its event id. Of a request, all that it says: a sender
 *   may give two of them one `Nats-Msg-Id`, and a corrected one is another.
 * - the command id (libs/event-store): whether what a message asks for is in the log. Derived from the wish or the event, never from the
 *   sending, so that a request that comes twice under different ids, or over HTTP as well, takes effect once.
 */
import { hash } from 'node:crypto';
import { derivedId } from '@backhaul/kernel';
import type { JsMsg } from 'nats';
import type { Encoded, Headers } from './cloud-event.ts';
import { isRequest } from './subjects.ts';

/** Set on a message that is sent again: the id that it had the first time. */
export const ORIGINAL_ID = 'x-original-id';

export interface MessageIdentity {
  /** The sender's `Nats-Msg-Id` (an event's id), or else where the message stands. */
  readonly messageId: string;
  /** What the inbox remembers. */
  readonly inboxKey: string;
}

/** `place`: where the message stands; `created` tells the sequences of a stream from those of its successor, after NATS was wiped. */
export function identityOf(
  place: { readonly stream: string; readonly created: string; readonly sequence: number },
  { subject, headers, body }: Encoded,
): MessageIdentity {
  const messageId =
    headers[ORIGINAL_ID] ??
    headers['nats-msg-id'] ??
    headers['ce-id'] ??
    `${place.stream}@${place.created}#${place.sequence}`;
  return { messageId, inboxKey: inboxKeyOf({ subject, messageId, body }) };
}

export const inboxKeyOf = (message: {
  readonly subject: string;
  readonly messageId: string;
  readonly body: Uint8Array;
}): string => {
  const { subject, messageId, body } = message;
  return isRequest(subject)
    ? derivedId('request', subject, messageId, hash('sha256', body))
    : keyOfId(messageId);
};

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Ids from outside can be of any length and make: only a UUID stands for itself. */
export const keyOfId = (messageId: string): string =>
  UUID.test(messageId) ? messageId : derivedId('message', messageId);

/** The first value of every header, by lower-case name. */
export function headersOf(message: Pick<JsMsg, 'headers'>): Headers {
  const found: Record<string, string> = {};
  for (const [name, values] of message.headers ?? []) found[name.toLowerCase()] ??= values[0] ?? '';
  return found;
}

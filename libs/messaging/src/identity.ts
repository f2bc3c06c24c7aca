/**
 * Which message this is, over every way it can come again: redelivered, published twice, refilled into a new NATS, or
 * sent again from the dead letters (which needs a fresh `Nats-Msg-Id`, or de-duplication would swallow it).
 */
import { derivedId } from '@backhaul/kernel';
import type { JsMsg } from 'nats';
import type { Headers } from './cloud-event.ts';

/** Set on a message that is sent again: the id that it had the first time. */
export const ORIGINAL_ID = 'x-original-id';

export interface MessageIdentity {
  /** The sender's `Nats-Msg-Id` (an event's id), or else where the message stands. */
  readonly messageId: string;
  /** What the inbox remembers. */
  readonly inboxKey: string;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** `streamCreated` tells the sequences of a stream from those of its successor, after NATS was wiped. */
export function identityOf(
  stream: string,
  streamCreated: string,
  sequence: number,
  headers: Headers,
): MessageIdentity {
  const messageId =
    headers[ORIGINAL_ID] ??
    headers['nats-msg-id'] ??
    headers['ce-id'] ??
    `${stream}@${streamCreated}#${sequence}`;
  return { messageId, inboxKey: inboxKeyOf(messageId) };
}

/** Ids from outside can be of any length and make: only a UUID stands for itself. */
export const inboxKeyOf = (messageId: string): string =>
  UUID.test(messageId) ? messageId : derivedId('message', messageId);

/** The first value of every header, by lower-case name. */
export function headersOf(message: Pick<JsMsg, 'headers'>): Headers {
  const found: Record<string, string> = {};
  for (const [name, values] of message.headers ?? []) found[name.toLowerCase()] ??= values[0] ?? '';
  return found;
}

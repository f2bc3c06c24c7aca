/**
 * An event as it travels: a CloudEvent 1.0 in binary mode (NATS protocol binding §3.1). The attributes are headers, the
 * data is the body. What is read back is the event as the log keeps it, checked against its contract.
 */
import {
  catalogue,
  categoryOf,
  type EventType,
  owners,
  type Recorded,
  readEvent,
  type Service,
  type StoredRecord,
} from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import { eventSubject } from './subjects.ts';

export type Headers = Readonly<Record<string, string>>;

/** CloudEvents NATS binding §3.1.3: spaces, quotes, "%" and all that is not printable ASCII travel percent-encoded. */
export const encodeHeaderValue = (value: string): string =>
  value
    .toWellFormed()
    .replace(/[^\x21\x23\x24\x26-\x7e]/gu, (character) =>
      [...Buffer.from(character, 'utf8')]
        .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
        .join(''),
    );
export const decodeHeaderValue = (value: string): string => decodeURIComponent(value);

export interface Encoded {
  readonly subject: string;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/**
 * As it lies in the log, in the schema version that it was stored with: of whatever release it is, nothing of it is lost on the way, and
 * whoever receives it lifts it as far as it knows (docs/adr/0025).
 */
export function encodeEvent(owner: Service, event: StoredRecord): Encoded {
  const headers: Record<string, string> = {
    'ce-specversion': '1.0',
    'ce-id': event.eventId,
    'ce-type': event.type,
    'ce-source': `/backhaul/${owner}`,
    'ce-subject': event.stream,
    'ce-time': event.recordedAt,
    'content-type': 'application/json',
    'x-position': String(event.position),
    'x-version': String(event.version),
    'x-schema-version': String(event.schemaVersion),
    'x-correlation': event.metadata.correlation,
    'x-causation': event.metadata.causation,
    'x-actor': event.metadata.actor,
  };
  if (event.metadata.traceparent !== undefined) headers.traceparent = event.metadata.traceparent;
  for (const name of Object.keys(headers)) headers[name] = encodeHeaderValue(headers[name] ?? '');
  return { subject: eventSubject(owner, event), headers, body: Buffer.from(JSON.stringify(event.data)) };
}

const whole = z.string().regex(/^\d+$/, 'must be a whole number').transform(Number);
const Attributes = z.object({
  'ce-specversion': z.literal('1.0'),
  'ce-id': z.uuid(),
  'ce-type': z.string().min(1),
  'ce-subject': z.string().min(1),
  'ce-time': z.iso.datetime(),
  'x-position': whole,
  'x-version': whole,
  'x-schema-version': whole,
  'x-correlation': z.string(),
  'x-causation': z.string(),
  'x-actor': z.string(),
  traceparent: z.string().optional(),
});

/**
 * The event a message carries, lifted to the newest schema version; undefined for a type that this release does not know. Throws a
 * permanent Fault that says what is wrong with a message that is no event of ours, and what readEvent throws.
 */
export function decodeEvent(message: Encoded): Recorded | undefined {
  const wrong = (reason: string, cause?: unknown): Fault =>
    new Fault(`The message on ${message.subject} is no event: ${reason}`, {
      cause,
      permanent: true,
      code: 'MalformedMessage',
    });
  let attributes: z.infer<typeof Attributes>;
  let stored: unknown;
  try {
    const decoded = Object.fromEntries(
      Object.entries(message.headers).map(([name, value]) => [name.toLowerCase(), decodeHeaderValue(value)]),
    );
    const checked = Attributes.safeParse(decoded);
    if (!checked.success) throw wrong(z.prettifyError(checked.error).replaceAll('\n', ' '));
    attributes = checked.data;
    stored = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(message.body));
  } catch (cause) {
    throw cause instanceof Fault ? cause : wrong('its headers or body cannot be read', cause);
  }
  const event = readEvent(attributes['ce-type'], attributes['x-schema-version'], stored);
  if (event === undefined) return undefined;
  const stream = attributes['ce-subject'];
  const recorded = {
    ...event,
    eventId: attributes['ce-id'],
    position: attributes['x-position'],
    stream,
    category: categoryOf(stream),
    version: attributes['x-version'],
    schemaVersion: catalogue[event.type].schemaVersion,
    metadata: {
      correlation: attributes['x-correlation'],
      causation: attributes['x-causation'],
      actor: attributes['x-actor'],
      ...(attributes.traceparent === undefined ? {} : { traceparent: attributes.traceparent }),
    },
    recordedAt: attributes['ce-time'],
  } as Recorded<EventType>;
  if (
    recorded.category !== catalogue[event.type].category ||
    eventSubject(owners[recorded.category], recorded) !== message.subject
  )
    throw wrong(`it claims to be ${event.type} of stream ${stream}, which is published elsewhere`);
  return recorded;
}

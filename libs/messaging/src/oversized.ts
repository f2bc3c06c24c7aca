/**
 * An event that is more than the server of NATS lets a message be. Nothing behind it is published, because the log is told in its order
 * and whole; so it has to be said by name, with the way out. Appends refuse what would not fit a server as it comes; a log may hold
 * older ones, and a server may be told to carry less.
 */
import type { StoredRecord } from '@backhaul/contracts';
import { Fault, formatBytes, KiB } from '@backhaul/kernel';
import type { MsgHdrs } from 'nats';

export class Oversized extends Fault {
  override readonly name = 'Oversized';
  readonly position: number;

  constructor({ position, type, stream }: StoredRecord, messageBytes: number, messageBytesMax: number) {
    super(
      `Event ${position} (${type} of stream ${stream}) is a message of ${messageBytes} bytes, and NATS carries ` +
        `${messageBytesMax} (${formatBytes(messageBytesMax)}): nothing behind it is published. Set max_payload of the NATS server to ` +
        `at least ${messageBytes} and restart it`,
      { code: 'Oversized' },
    );
    this.position = position;
  }
}

/** Headers but for the metadata; and what one character of that may become, percent-encoded. */
const OTHER_HEADERS_BYTES_MAX = 4 * KiB;
const BYTES_PER_CHARACTER_MAX = 9;

/** The fault, if there is one. `headers`: all that travel, because they count against the server's bound. */
export function oversized(
  event: StoredRecord,
  headers: MsgHdrs,
  body: Uint8Array,
  messageBytesMax: number,
): Oversized | undefined {
  // Nearly all are far from it, and this is on the way of every event.
  const { correlation, causation, actor, traceparent = '' } = event.metadata;
  const characters = correlation.length + causation.length + actor.length + traceparent.length;
  const atMost = body.byteLength + OTHER_HEADERS_BYTES_MAX + characters * BYTES_PER_CHARACTER_MAX;
  if (atMost <= messageBytesMax) return undefined;
  const bytes = messageBytesOf(headers, body);
  return bytes > messageBytesMax ? new Oversized(event, bytes, messageBytesMax) : undefined;
}

/** NATS client protocol, HPUB: a version line, a line for each value, an empty line, the body. */
function messageBytesOf(headers: MsgHdrs, body: Uint8Array): number {
  let bytes = 'NATS/1.0\r\n\r\n'.length + body.byteLength;
  for (const [name, values] of headers)
    for (const value of values) bytes += Buffer.byteLength(`${name}: ${value}\r\n`);
  return bytes;
}

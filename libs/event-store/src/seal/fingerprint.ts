/**
 * What a seal knows of each event. Worked out here from the bytes of the row, and not by the database: whoever can rewrite a row can
 * rewrite its functions, too. Pure.
 */
import { hash } from 'node:crypto';

/** In the order of the tuple below; what is a number there comes as text, as Postgres writes it. */
export const SEALED_COLUMNS = `position::text, event_id::text, stream_id, category, version::text, type, schema_version::text,
  data::text, correlation, causation, traceparent, actor, encode(content_hash, 'hex'),
  (extract(epoch from recorded_at) * 1000000)::bigint::text`;

export type SealedRow = [
  position: string,
  eventId: string,
  stream: string,
  category: string,
  version: string,
  type: string,
  schemaVersion: string,
  data: string,
  correlation: string,
  causation: string,
  traceparent: string | null,
  actor: string,
  contentHash: string,
  recordedAtMicroseconds: string,
];

/** The same as `public.content_hash` (sql/0001-log.sql), in lower-case hex. */
function contentHashOf(row: SealedRow): string {
  const [
    ,
    eventId,
    stream,
    ,
    version,
    type,
    schemaVersion,
    data,
    correlation,
    causation,
    traceparent,
    actor,
  ] = row;
  const lines = [
    correlation,
    causation,
    traceparent ?? '',
    actor,
    eventId,
    stream,
    version,
    type,
    schemaVersion,
  ];
  return hash('sha256', `${lines.join('\n')}\n${data}`);
}

export interface Entry {
  readonly position: number;
  /** Of all that the log keeps of an event but its position: SHA-256 in hex. */
  readonly fingerprint: string;
  /** False when the row does not say what its own content hash and category stand for. */
  readonly fits: boolean;
}

export function entryOf(row: SealedRow): Entry {
  const [position, , stream, category] = row;
  const [contentHash, recordedAt] = row.slice(12) as [string, string];
  const content = contentHashOf(row);
  return {
    position: Number(position),
    fingerprint: hash('sha256', `${content}\n${recordedAt}\n`),
    fits: content === contentHash && category === stream.slice(0, stream.indexOf('-')),
  };
}

const ENTRY_BYTES = 40;

/** Position (8 bytes, big-endian) and fingerprint (32 bytes) of each, one after the other. */
export function packEntries(entries: readonly Entry[]): Buffer {
  const packed = Buffer.alloc(entries.length * ENTRY_BYTES);
  for (const [index, { position, fingerprint }] of entries.entries()) {
    packed.writeBigUInt64BE(BigInt(position), index * ENTRY_BYTES);
    packed.write(fingerprint, index * ENTRY_BYTES + 8, 'hex');
  }
  return packed;
}

export function unpackEntries(packed: Buffer): Omit<Entry, 'fits'>[] {
  const entries = [];
  for (let at = 0; at + ENTRY_BYTES <= packed.length; at += ENTRY_BYTES) {
    entries.push({
      position: Number(packed.readBigUInt64BE(at)),
      fingerprint: packed.toString('hex', at + 8, at + ENTRY_BYTES),
    });
  }
  return entries;
}

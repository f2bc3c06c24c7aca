/**
 * An event as it lies in the log: its data of the schema version that it was stored with. This is also a line of an exported log
 * (`backhaul replay --export`), so that what was recorded years ago is lifted by the same upcasters wherever it is kept.
 */
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import { catalogue, readStoredEvent } from './catalogue.ts';
import type { Recorded } from './recorded.ts';

export const StoredRecord = z.object({
  position: z.int().positive(),
  eventId: z.uuid(),
  stream: z.string(),
  version: z.int().positive(),
  type: z.string(),
  schemaVersion: z.int().positive(),
  recordedAt: z.string(),
  metadata: z.object({
    correlation: z.string(),
    causation: z.string(),
    traceparent: z.string().optional(),
    actor: z.string(),
  }),
  data: z.unknown(),
});
export type StoredRecord = z.infer<typeof StoredRecord>;

/** The line of a file, checked. Throws a permanent Fault that says what is wrong with it. */
export function readStoredLine(line: string): StoredRecord {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new Fault(`It is no JSON: ${line.slice(0, 80)}`, { cause, permanent: true });
  }
  const checked = StoredRecord.safeParse(value);
  if (checked.success) return checked.data;
  throw new Fault(`It is no event of a log: ${z.prettifyError(checked.error)}`, { permanent: true });
}

/** Lifted to the newest schema version, as the log reads it; undefined for a type that this release does not know. */
export function liftRecord(stored: StoredRecord): Recorded | undefined {
  const event = readStoredEvent(stored.type, stored.schemaVersion, stored.data);
  if (event === undefined) return undefined;
  const { category, schemaVersion } = catalogue[event.type];
  return { ...stored, ...event, category, schemaVersion } as Recorded;
}

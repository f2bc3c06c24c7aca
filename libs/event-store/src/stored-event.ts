/** How an event lies in the table `events`, and how it comes back from there. */
import { type Category, catalogue, categoryOf, type Recorded, readEvent } from '@backhaul/contracts';

/** In this order in every query: rows come as arrays, which costs half of what objects cost. */
export const COLUMNS =
  'position, event_id, stream_id, version, type, schema_version, data, correlation, causation, traceparent, actor, recorded_at';

export type StoredEvent = [
  position: number,
  eventId: string,
  stream: string,
  version: number,
  type: string,
  schemaVersion: number,
  data: unknown,
  correlation: string,
  causation: string,
  traceparent: string | null,
  actor: string,
  recordedAt: string,
];

/**
 * Lifted to the newest schema version, which `schemaVersion` then names. Undefined when this release does not know the
 * type: readers pass over it.
 */
export function recordedOf(stored: StoredEvent): Recorded | undefined {
  const [position, eventId, stream, version, type, schemaVersion, data] = stored;
  const [, , , , , , , correlation, causation, traceparent, actor, recordedAt] = stored;
  const event = readEvent(type, schemaVersion, data);
  if (event === undefined) return undefined;
  return {
    type: event.type,
    data: event.data,
    eventId,
    position,
    stream,
    category: categoryOf(stream) as Category,
    version,
    schemaVersion: catalogue[event.type].schemaVersion,
    metadata:
      traceparent === null
        ? { correlation, causation, actor }
        : { correlation, causation, traceparent, actor },
    recordedAt,
  } as Recorded;
}

export function knownEvents(rows: readonly StoredEvent[]): Recorded[] {
  const events: Recorded[] = [];
  for (const row of rows) {
    const event = recordedOf(row);
    if (event !== undefined) events.push(event);
  }
  return events;
}

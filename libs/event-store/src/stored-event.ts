/** How an event lies in the table `events`, and how it comes back from there. */
import { catalogue, categoryOf, type Recorded, readEvent } from '@backhaul/contracts';
import { instantOf } from './pool.ts';

/**
 * What every query for events selects. What can hold no line feed comes as lines of one column: half of the time of reading goes
 * into taking columns apart one by one, and this makes six of twelve. For the same reason rows come as arrays.
 */
export const COLUMNS = `concat_ws(E'\\n', position, version, event_id, stream_id, type, schema_version, recorded_at),
  data, correlation, causation, traceparent, actor`;

export type StoredEvent = [
  lines: string,
  data: unknown,
  correlation: string,
  causation: string,
  traceparent: string | null,
  actor: string,
];

/** Undefined when there are no rows. */
export const lastPosition = (rows: readonly StoredEvent[]): number | undefined => lineOfLast(rows, 0);
export const lastVersion = (rows: readonly StoredEvent[]): number | undefined => lineOfLast(rows, 1);

function lineOfLast(rows: readonly StoredEvent[], line: number): number | undefined {
  const last = rows.at(-1);
  return last === undefined ? undefined : Number(last[0].split('\n', line + 1)[line]);
}

/**
 * Lifted to the newest schema version, which `schemaVersion` then names. Undefined when this release does not know the
 * type: readers pass over it.
 */
function recordedOf([lines, data, correlation, causation, traceparent, actor]: StoredEvent):
  | Recorded
  | undefined {
  const [position, version, eventId, stream, type, schemaVersion, recordedAt] = lines.split('\n') as Lines;
  const event = readEvent(type, Number(schemaVersion), data);
  if (event === undefined) return undefined;
  return {
    type: event.type,
    data: event.data,
    eventId,
    position: Number(position),
    stream,
    category: categoryOf(stream),
    version: Number(version),
    schemaVersion: catalogue[event.type].schemaVersion,
    metadata:
      traceparent === null
        ? { correlation, causation, actor }
        : { correlation, causation, traceparent, actor },
    recordedAt: instantOf(recordedAt),
  } as Recorded;
}

type Lines = [
  position: string,
  version: string,
  eventId: string,
  stream: string,
  type: string,
  schemaVersion: string,
  recordedAt: string,
];

export function knownEvents(rows: readonly StoredEvent[]): Recorded[] {
  const events: Recorded[] = [];
  for (const row of rows) {
    const event = recordedOf(row);
    if (event !== undefined) events.push(event);
  }
  return events;
}

/** How an event lies in the table `events`, and how it comes back from there. */
import { catalogue, type Recorded, readStoredEvent, type StoredRecord } from '@backhaul/contracts';
import { instantOf } from './pool.ts';

/**
 * What every query for events selects: all that is short, as the lines of one column, and the data. Taking columns apart one by one
 * is more than half of what reading costs, and the metadata holds no line feed. For the same reason rows come as arrays.
 * Data comes as text: what waits to be looked at is two strings a row, which cost nothing to keep.
 */
export const COLUMNS = `concat_ws(E'\\n', position, version, event_id, stream_id, type, schema_version, recorded_at,
  correlation, causation, coalesce(traceparent, ''), actor), data::text`;

export type StoredEvent = [lines: string, text: string];

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
function recordedOf([lines, text]: StoredEvent): Recorded | undefined {
  const line = lines.split('\n') as Lines;
  const event = readStoredEvent(line[4], Number(line[5]), JSON.parse(text));
  if (event === undefined) return undefined;
  const [stream, correlation, causation, traceparent, actor] = [line[3], line[7], line[8], line[9], line[10]];
  const { category, schemaVersion } = catalogue[event.type];
  return {
    type: event.type,
    data: event.data,
    eventId: line[2],
    position: Number(line[0]),
    stream,
    category,
    version: Number(line[1]),
    schemaVersion,
    metadata:
      traceparent === '' ? { correlation, causation, actor } : { correlation, causation, traceparent, actor },
    recordedAt: instantOf(line[6]),
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
  correlation: string,
  causation: string,
  traceparent: string,
  actor: string,
];

/** As it lies in the log. */
export function storedRecord([lines, text]: StoredEvent): StoredRecord {
  const line = lines.split('\n') as Lines;
  const [correlation, causation, traceparent, actor] = [line[7], line[8], line[9], line[10]];
  return {
    position: Number(line[0]),
    eventId: line[2],
    stream: line[3],
    version: Number(line[1]),
    type: line[4],
    schemaVersion: Number(line[5]),
    recordedAt: instantOf(line[6]),
    metadata: { correlation, causation, ...(traceparent === '' ? {} : { traceparent }), actor },
    data: JSON.parse(text),
  };
}

export function knownEvents(rows: readonly StoredEvent[]): Recorded[] {
  const events: Recorded[] = [];
  for (const row of rows) {
    const event = recordedOf(row);
    if (event !== undefined) events.push(event);
  }
  return events;
}

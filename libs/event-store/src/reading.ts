/** Reading streams and the log: every query that selects events. Rows come as arrays, in pages, through prepared statements. */
import { type EventType, type Recorded, type StreamName, typesOf } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import type { Pool, PoolClient, QueryResult } from 'pg';
import type { LogFilter, StreamAfter, StreamPage } from './event-store.ts';
import { COLUMNS, knownEvents, lastVersion, type StoredEvent } from './stored-event.ts';

const STREAM = {
  name: 'read_stream',
  text: `select ${COLUMNS} from public.events where stream_id = $1 and version > $2 order by version limit $3`,
  rowMode: 'array',
} as const;

const STREAMS = {
  name: 'read_streams',
  text: `select ${COLUMNS}, asked.index from unnest($1::text[], $2::int[]) with ordinality as asked(stream, after, index)
         cross join lateral (select * from public.events e where e.stream_id = asked.stream collate "C"
           and e.version > asked.after order by e.version limit $3) e
         order by asked.index, e.version`,
  rowMode: 'array',
} as const;

const LOG = {
  name: 'read_log',
  text: `select ${COLUMNS} from public.events where position > $1 and position <= $2 order by position limit $3`,
  rowMode: 'array',
} as const;

/** What makes nearly all of a log, and what the indexes of sql/0007-all-but-chunks.sql leave out. */
export const CHUNKS: readonly EventType[] = ['ChunkReceived', 'ChunkExported'];
export const BUT_CHUNKS = `type not in (${CHUNKS.map((type) => `'${type}'`).join(', ')})`;

/** Types that are few among many: each is found by its index, so that a log of years costs what there is of them. */
const BY_TYPE = {
  name: 'read_log_by_type',
  text: `select ${COLUMNS} from unnest($4::text[]) as wanted(one)
         cross join lateral (select * from public.events e where e.type = wanted.one collate "C"
           and e.position > $1 and e.position <= $2 and e.${BUT_CHUNKS} order by e.position limit $3) e
         order by position limit $3`,
  rowMode: 'array',
} as const;

const FILTERED = {
  name: 'read_log_filtered',
  text: `select ${COLUMNS} from public.events where position > $1 and position <= $2
         and ($4::text[] is null or category = any($4)) and ($5::text[] is null or type = any($5))
         order by position limit $3`,
  rowMode: 'array',
} as const;

const CORRELATED = {
  name: 'read_log_correlated',
  text: `select ${COLUMNS} from public.events where position > $1 and position <= $2
         and ($4::text[] is null or category = any($4)) and ($5::text[] is null or type = any($5))
         and correlation = $6 order by position limit $3`,
  rowMode: 'array',
} as const;

const CORRELATED_BUT_CHUNKS = {
  name: 'read_log_correlated_but_chunks',
  text: `select ${COLUMNS} from public.events where position > $1 and position <= $2 and type = any($4::text[])
         and correlation = $5 and ${BUT_CHUNKS} order by position limit $3`,
  rowMode: 'array',
} as const;

const STORED = {
  name: 'read_stored_log',
  text: `select ${COLUMNS} from public.events where position > $1 and position <= $2 and type <> all ($4::text[])
         order by position limit $3`,
  rowMode: 'array',
} as const;

const BY_ID = {
  name: 'read_by_id',
  text: `select ${COLUMNS} from public.events where event_id = any($1::uuid[]) order by position`,
  rowMode: 'array',
} as const;

/** One page of a stream. No barrier is needed: a stream's versions are given under its row lock, one commit after the other. */
/** Undefined when no event stands there. */
export async function eventIdAt(pool: Pool, position: number): Promise<string | undefined> {
  const { rows } = await pool.query<{ event_id: string }>(
    'select event_id from public.events where position = $1',
    [position],
  );
  return rows[0]?.event_id;
}

export async function readStreamPage(
  connection: Pool | PoolClient,
  stream: StreamName,
  after: number,
  limit: number,
): Promise<StreamPage> {
  const rows = rowsOf(await connection.query<StoredEvent>({ ...STREAM, values: [stream, after, limit] }));
  return { events: knownEvents(rows), version: lastVersion(rows) ?? after, more: rows.length === limit };
}

/** The same for several streams, in one question. */
export async function readStreamPages(
  connection: Pool | PoolClient,
  streams: readonly StreamAfter[],
  limit: number,
): Promise<StreamPage[]> {
  const values = [streams.map(({ stream }) => stream), streams.map(({ after }) => after), limit];
  const { rows } = await connection.query<[...StoredEvent, index: number]>({ ...STREAMS, values });
  const found = Map.groupBy(rows, ([, , index]) => index);
  return streams.map(({ after }, index) => {
    const own: StoredEvent[] = (found.get(index + 1) ?? []).map(([lines, data]) => [lines, data]);
    return { events: knownEvents(own), version: lastVersion(own) ?? after, more: own.length === limit };
  });
}

/** Log rows in (after, upTo], as they are stored. */
export async function readLogRows(
  connection: Pool | PoolClient,
  range: { after: number; upTo: number; limit: number },
  filter: LogFilter,
): Promise<StoredEvent[]> {
  const { query, values } = asked(filter, range.upTo - range.after > WIDE);
  const { after, upTo, limit } = range;
  return rowsOf(await connection.query<StoredEvent>({ ...query, values: [after, upTo, limit, ...values] }));
}

/**
 * From how many positions on the events of some categories are looked up type by type. Where less is new it is read as it lies, which is what
 * a relay does all the time.
 */
export const WIDE = 10_000;

/** The query that costs what it finds, and its values from the fourth on. */
function asked({ categories, types, correlation }: LogFilter, isWide: boolean) {
  const wanted = types ?? (categories !== undefined && isWide ? typesOf(...categories) : undefined);
  const butChunks =
    (types === undefined || categories === undefined) &&
    wanted?.every((type) => !CHUNKS.includes(type)) === true;
  if (correlation !== undefined)
    return butChunks
      ? { query: CORRELATED_BUT_CHUNKS, values: [wanted, correlation] }
      : { query: CORRELATED, values: [categories ?? null, types ?? null, correlation] };
  if (butChunks) return { query: BY_TYPE, values: [[...new Set(wanted)]] };
  if (categories === undefined && types === undefined) return { query: LOG, values: [] };
  return { query: FILTERED, values: [categories ?? null, types ?? null] };
}

/** The same of all types but some, known to this release or not. */
export async function readStoredRows(
  connection: Pool | PoolClient,
  range: { after: number; upTo: number; limit: number },
  except: readonly string[],
): Promise<StoredEvent[]> {
  const values = [range.after, range.upTo, range.limit, except];
  return rowsOf(await connection.query<StoredEvent>({ ...STORED, values }));
}

/**
 * The rows, and the answer emptied of them: with a time-out on a query, pg's answers are kept until the next full collection,
 * and so is all that hangs on them, which made a third of what a replay cost.
 */
export function rowsOf(answer: QueryResult<StoredEvent>): StoredEvent[] {
  const { rows } = answer;
  answer.rows = [];
  return rows;
}

/** What a command stored: its ids are known from their index, so asking on until one is missing finds them all. */
export async function readCommand(connection: Pool | PoolClient, commandId: string): Promise<Recorded[]> {
  const PROBE = 64;
  const stored: StoredEvent[] = [];
  for (;;) {
    const ids = Array.from({ length: PROBE }, (_, index) => derivedId(commandId, stored.length + index));
    const { rows } = await connection.query<StoredEvent>({ ...BY_ID, values: [ids] });
    stored.push(...rows);
    if (rows.length < PROBE) return knownEvents(stored);
  }
}

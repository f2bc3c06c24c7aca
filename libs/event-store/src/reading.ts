/** Reading streams and the log: every query that selects events. Rows come as arrays, in pages, through prepared statements. */
import type { Recorded, StreamName } from '@backhaul/contracts';
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
  { categories, types, correlation }: LogFilter,
): Promise<StoredEvent[]> {
  const values: unknown[] = [range.after, range.upTo, range.limit];
  let query: typeof LOG | typeof FILTERED | typeof CORRELATED = LOG;
  if (categories !== undefined || types !== undefined || correlation !== undefined) {
    query = correlation === undefined ? FILTERED : CORRELATED;
    values.push(categories ?? null, types ?? null);
    if (correlation !== undefined) values.push(correlation);
  }
  return rowsOf(await connection.query<StoredEvent>({ ...query, values }));
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
function rowsOf(answer: QueryResult<StoredEvent>): StoredEvent[] {
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

/** The event store on Postgres: what event-store.ts promises, by the functions and rights of sql/. */
import type { Recorded, Service, StreamName } from '@backhaul/contracts';
import { Fault, invariant } from '@backhaul/kernel';
import type { Pool, PoolClient } from 'pg';
import { prepare, send } from './append.ts';
import { groupingAppends } from './append-groups.ts';
import type {
  EventStore,
  EventTransaction,
  LogFilter,
  LogPage,
  StoredPage,
  StreamAppend,
  StreamPage,
} from './event-store.ts';
import { highWaterOf } from './high-water.ts';
import { readOwnRows } from './own-log.ts';
import { inTransaction, kyselyOn, kyselyWithin, openPool } from './pool.ts';
import { postgresFault, stateOf } from './postgres-fault.ts';
import { eventIdAt, readLogRows, readStoredRows, readStreamPage, readStreamPages } from './reading.ts';
import { requireSchema } from './schema.ts';
import { knownEvents, lastPosition, type StoredEvent, storedRecord } from './stored-event.ts';
import { LogWentBack, Witness } from './witness.ts';

const PAGE_EVENTS = 1_000;

/** The barrier, and the newest event that was committed when it was asked for. */
const HIGH_WATER = {
  name: 'high_water',
  text: `select high.position, newest.position as newest, newest.event_id from (select public.high_water() as position) high
         left join lateral (select position, event_id from public.events e where e.position <= high.position
           order by e.position desc limit 1) newest on true`,
};
interface HighWaterRow {
  /** Null when it did not get through in its time. */
  readonly position: number | null;
  readonly newest: number | null;
  readonly event_id: string | null;
}

/**
 * Connects as the user of `url` (see serviceUrl), once, to find a wrong address or password at the start. Afterwards
 * connections come and go by themselves. Throws a Fault when the database is out of reach or not at the schema of this release.
 */
export async function connectEventStore(options: {
  url: string;
  service?: Service;
  poolSize?: number;
  applicationName?: string;
  /** Called when the log is an earlier one than this process has read. By default it is thrown outside everything, which ends the process. */
  onWentBack?: (fault: LogWentBack) => void;
}): Promise<EventStore> {
  const { url, service, poolSize = 10 } = options;
  const applicationName = options.applicationName ?? `backhaul-${service ?? 'reader'}`;
  const pool = openPool({ url, poolSize, applicationName });
  try {
    await requireSchema(pool);
  } catch (cause) {
    await pool.end();
    throw postgresFault(`Connecting to the event store at ${new URL(url).host}`, cause);
  }
  return eventStoreOn(pool, service, options.onWentBack ?? throwOutside);
}

function throwOutside(fault: LogWentBack): void {
  queueMicrotask(() => {
    throw fault;
  });
}

function eventStoreOn(
  pool: Pool,
  service: Service | undefined,
  onWentBack: (fault: LogWentBack) => void,
): EventStore {
  const listeners = new Set<(events: readonly Recorded[]) => void>();
  const witness = new Witness((position) => eventIdAt(pool, position));
  pool.on('connect', () => witness.doubt());
  const announce = (events: readonly Recorded[]): void => {
    for (const listener of listeners) listener(events);
  };
  const appendGrouped = groupingAppends((commands) => send(pool, commands));
  const highWater = highWaterOf(async () => {
    const { rows } = await pool.query<HighWaterRow>(HIGH_WATER);
    const { position, newest, event_id: eventId } = rows[0] ?? {};
    if (position == null) return undefined;
    await witness.confirm(position).catch((error: unknown) => {
      if (error instanceof LogWentBack) onWentBack(error);
      throw error;
    });
    if (newest != null && eventId != null) witness.saw(newest, eventId);
    return position;
  });

  type Range = { after: number; upTo: number; limit: number };
  const readPage = async (
    after: number,
    limit: number,
    rowsIn: (range: Range) => Promise<StoredEvent[]>,
  ): Promise<{ rows: StoredEvent[]; next: number; highWater: number }> => {
    const read = async (from: number, upTo: number, atMost: number) =>
      from < upTo ? await rowsIn({ after: from, upTo, limit: atMost }) : [];
    // Below a high water that is known already a full page needs no barrier: a replay asks for one at its end only.
    let upTo = highWater.known;
    const rows = await read(after, upTo, limit);
    if (rows.length < limit) {
      const readUpTo = Math.max(after, upTo);
      upTo = await highWater.ask();
      rows.push(...(await read(readUpTo, upTo, limit - rows.length)));
    }
    const next = rows.length === limit ? (lastPosition(rows) ?? after) : Math.max(after, upTo);
    return { rows, next, highWater: upTo };
  };
  const readLog = async (after: number, options: LogFilter & { limit?: number } = {}): Promise<LogPage> => {
    const page = await readPage(after, options.limit ?? PAGE_EVENTS, (range) =>
      readLogRows(pool, range, options),
    );
    return new PageOfRows(page.rows, page.next, page.highWater);
  };
  const readStored = (after: number, limit: number, rowsIn: (range: Range) => Promise<StoredEvent[]>) =>
    during('Reading the log', async (): Promise<StoredPage> => {
      const { rows, ...page } = await readPage(after, limit, rowsIn);
      return { ...page, records: rows.map(storedRecord) };
    });

  return {
    readStream: (stream, afterVersion) => streamOf(pool, stream, afterVersion),
    readStreamPage: (stream, afterVersion, limit) => pageOf(pool, stream, afterVersion, limit),
    readLog: (after, options) => during('Reading the log', () => readLog(after, options)),
    readStoredLog: (after, { except = [], limit = PAGE_EVENTS } = {}) =>
      readStored(after, limit, (range) => readStoredRows(pool, range, except)),
    readOwnLog: (after, { limit = PAGE_EVENTS } = {}) =>
      readStored(after, limit, (range) => readOwnRows(pool, range, service)),
    async append(appends, context) {
      const result = await during(appendingTo(appends), async () => {
        const command = prepare(appends, context);
        try {
          return await appendGrouped(command);
        } catch (error) {
          // The same command was being appended elsewhere in this moment, over other streams. It is stored now.
          if (stateOf(error) === UNIQUE_VIOLATION) return await appendGrouped(command);
          throw error;
        }
      });
      if (result.ok && !result.value.duplicate) announce(result.value.events);
      return result;
    },
    async transaction(work) {
      const afterCommit: (() => void)[] = [];
      const result = await during('A transaction of the event store', () =>
        inTransaction(pool, (client) => work(transactionOn(client, afterCommit, announce))),
      );
      for (const listener of afterCommit) listener();
      return result;
    },
    onAppended(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    kysely: kyselyOn(pool),
    close: () => pool.end(),
  };
}

function transactionOn(
  client: PoolClient,
  afterCommit: (() => void)[],
  announce: (events: readonly Recorded[]) => void,
): EventTransaction {
  let hasAppended = false;
  let kysely: EventTransaction['kysely'] | undefined;
  const appendEach: EventTransaction['appendEach'] = async (commands) => {
    // A second one would take row locks while it holds the log's lock: the wrong order (sql/0001-log.sql).
    invariant(
      !hasAppended,
      'A transaction appends once, as its last statement; name all streams in that append',
    );
    const appends = commands.flatMap((command) => command.appends);
    const results = await during(appendingTo(appends), () =>
      send(
        client,
        commands.map((each) => prepare(each.appends, each.context)),
      ),
    );
    for (const result of results) {
      if (!result.ok) continue;
      // A duplicate that was stored in this very moment was found with the log's lock in hand.
      hasAppended = true;
      if (result.value.duplicate) continue;
      afterCommit.push(() => announce(result.value.events));
    }
    return results;
  };
  return {
    client,
    get kysely() {
      kysely ??= kyselyWithin(client);
      return kysely;
    },
    get hasAppended() {
      return hasAppended;
    },
    readStream: (stream, afterVersion) => streamOf(client, stream, afterVersion),
    readStreamPage: (stream, afterVersion, limit) => pageOf(client, stream, afterVersion, limit),
    readStreamPages: (streams) =>
      during(`Reading ${streams.length} streams`, () => readStreamPages(client, streams, PAGE_EVENTS)),
    async append(appends, context) {
      const [result] = await appendEach([{ appends, context }]);
      invariant(result !== undefined, 'A command has an outcome');
      return result;
    },
    appendEach,
    onCommitted: (listener) => {
      afterCommit.push(listener);
    },
  };
}

/**
 * Its events are taken apart when they are looked at: a tail has the next page under way by then, and Postgres works meanwhile.
 * A class, because an object with a getter of its own is kept until the next full collection, with all that the getter sees.
 */
class PageOfRows implements LogPage {
  readonly next: number;
  readonly highWater: number;
  #rows: readonly StoredEvent[];
  #events: readonly Recorded[] | undefined;

  constructor(rows: readonly StoredEvent[], next: number, highWater: number) {
    this.next = next;
    this.highWater = highWater;
    this.#rows = rows;
  }

  get events(): readonly Recorded[] {
    if (this.#events === undefined) {
      this.#events = knownEvents(this.#rows);
      this.#rows = [];
    }
    return this.#events;
  }
}

const UNIQUE_VIOLATION = '23505';

const appendingTo = (appends: readonly StreamAppend[]): string =>
  `Appending to ${appends.map((each) => each.stream).join(', ')}`;

const pageOf = (
  connection: Pool | PoolClient,
  stream: StreamName,
  afterVersion = 0,
  limit = PAGE_EVENTS,
): Promise<StreamPage> =>
  during(`Reading stream ${stream}`, () => readStreamPage(connection, stream, afterVersion, limit));

async function* streamOf(
  connection: Pool | PoolClient,
  stream: StreamName,
  afterVersion = 0,
): AsyncGenerator<Recorded> {
  for (let page: StreamPage = { events: [], version: afterVersion, more: true }; page.more; ) {
    page = await pageOf(connection, stream, page.version);
    yield* page.events;
  }
}

/** Errors of Postgres leave as Faults that name the operation; what a caller's own code throws leaves as it is. */
async function during<T>(operation: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (stateOf(error) === undefined && !isConnectionError(error)) throw error;
    throw error instanceof Fault ? error : postgresFault(operation, error);
  }
}

const CONNECTION_CODES = ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOTFOUND'];

/** pg gives some of these errors a code, and to others only a text. */
function isConnectionError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && CONNECTION_CODES.includes(String(error.code))) return true;
  return /^Connection terminated|^Client has encountered a connection error|not queryable|^timeout exceeded when trying to connect|^Query read timeout/.test(
    error.message,
  );
}

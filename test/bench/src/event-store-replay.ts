/**
 * Reading back, in turn over the same events: through our store as projections read it (typed, the newest schema); the bare rows
 * of our table in pages of the same size (what Postgres and pg leave to win); and emmett, by the fastest way it has, which is whole
 * streams at once. Once also by the page reader of its subscriptions, which orders by transaction and goes on by position: it
 * sorts all that is left for every page, and gives some events twice or not at all after writers side by side.
 */
import { type EventStore, tail } from '@backhaul/event-store';
import { invariant } from '@backhaul/kernel';
import { type PostgresEventStore, readMessagesBatch } from '@event-driven-io/emmett-postgresql';
import pg from 'pg';
import type { Appender } from './event-store-appenders.ts';
import type { Figures } from './figures.ts';
import { median } from './peers.ts';

const EVENTS = 100_000;
const PAGE = 1_000;
const ROUNDS = 7;

type Read = () => Promise<number>;

/** The same events into each store, of which the readers then read `EVENTS`. */
export async function seed(appender: Appender): Promise<void> {
  const [callers, batch] = [4, 100];
  const caller = async (): Promise<void> => {
    const append = appender();
    for (let events = 0; events < EVENTS / callers; events += batch) await append(batch);
  };
  await Promise.all(Array.from({ length: callers }, caller));
}

export async function measureReplay(
  store: EventStore,
  peer: PostgresEventStore,
  urls: { ours: string; theirs: string },
): Promise<Figures> {
  const ours = await connected(urls.ours);
  const theirs = await connected(urls.theirs);
  try {
    const found = await theirs.query<{ stream_id: string }>('select stream_id from emt_streams');
    const streams = found.rows.map((row) => row.stream_id);
    const readers = {
      ours: () => throughStore(store),
      rows: () => rows(ours),
      emmett: () => wholeStreams(peer, streams),
    };
    const speeds = { ours: [] as number[], rows: [] as number[], emmett: [] as number[] };
    // The first round fills caches and compiles; it is not counted.
    for (let round = 0; round <= ROUNDS; round += 1) {
      for (const name of ['ours', 'rows', 'emmett'] as const) {
        const { events, seconds } = await timed(readers[name]);
        invariant(events === EVENTS, `Reading ${name} gave ${events} of ${EVENTS} events`);
        if (round > 0) speeds[name].push(events / seconds);
      }
    }
    const pages = await timed(() => logPages(theirs));
    const against = (peer: readonly number[]): number =>
      Number(median(speeds.ours.map((speed, round) => speed / (peer[round] ?? Number.NaN))).toFixed(2));
    return {
      'eventStore.replay.eventsPerSecond': Math.round(median(speeds.ours)),
      'eventStore.replay.bestEventsPerSecond': Math.round(Math.max(...speeds.ours)),
      'eventStore.replay.rawRowsPerSecond': Math.round(median(speeds.rows)),
      'eventStore.replay.bestRawRowsPerSecond': Math.round(Math.max(...speeds.rows)),
      'eventStore.replay.emmettEventsPerSecond': Math.round(median(speeds.emmett)),
      'eventStore.replay.emmettPagesEventsPerSecond': Math.round(pages.events / pages.seconds),
      'eventStore.replay.emmettPagesEvents': pages.events,
      'eventStore.replay.vsRawRows': against(speeds.rows),
      'eventStore.replay.vsEmmett': against(speeds.emmett),
    };
  } finally {
    await ours.end();
    await theirs.end();
  }
}

async function timed(read: Read): Promise<{ events: number; seconds: number }> {
  const start = performance.now();
  const events = await read();
  return { events, seconds: (performance.now() - start) / 1000 };
}

async function throughStore(store: EventStore): Promise<number> {
  const over = new AbortController();
  let events = 0;
  for await (const page of tail(store, { after: 0, signal: over.signal, limit: PAGE })) {
    events += page.events.length;
    if (page.next >= page.highWater) over.abort();
  }
  return events;
}

/** Every column, as pg gives them: the next page asked for before this one is looked at, and nothing done with any. */
async function rows(client: pg.Client): Promise<number> {
  const ask = async (after: number): Promise<[position: string][]> => {
    const answer = await client.query<[position: string]>({
      name: 'raw_rows',
      text: `select position, event_id, stream_id, version, type, schema_version, data::text, correlation, causation,
               traceparent, actor, recorded_at::text from public.events where position > $1 order by position limit $2`,
      values: [after, PAGE],
      rowMode: 'array',
    });
    return answer.rows;
  };
  let events = 0;
  for (let ahead = ask(0); ; ) {
    const page = await ahead;
    const last = page.at(-1);
    if (last === undefined) return events;
    ahead = ask(Number(last[0]));
    events += page.length;
  }
}

async function wholeStreams(store: PostgresEventStore, names: readonly string[]): Promise<number> {
  let events = 0;
  for (const name of names) events += (await store.readStream(name)).events.length;
  return events;
}

async function logPages(client: pg.Client): Promise<number> {
  const executor = { query: (sql: unknown) => client.query(String(sql)) } as never;
  let events = 0;
  for (let after = 0n; ; ) {
    const page = await readMessagesBatch(executor, { after, batchSize: PAGE });
    events += page.messages.length;
    if (page.messages.length === 0) return events;
    after = page.currentGlobalPosition;
  }
}

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  // Both tables as they are some time after they were written.
  await client.query('vacuum (analyze)');
  return client;
}

/** What a question costs in a log that is nearly all chunks, counted in rows that Postgres fetched for it. */
import { eventually } from '@backhaul/kernel';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { EventStore, LogFilter } from './event-store.ts';
import { context, proxyIdle, vmClaimed } from './examples.fixture.ts';
import { appendAsNewerRelease } from './newer-release.ts';
import { connectEventStore } from './postgres-event-store.ts';
import { openTestStore, type TestStore } from './testing.ts';

const CHUNKS = 60_000;
const RUN = 'the run';

let server: TestStore;
let admin: pg.Client;
beforeAll(async () => {
  server = await openTestStore();
  admin = new pg.Client({ connectionString: server.adminUrl });
  await admin.connect();
  const store = await server.store('proxy-manager');
  const idle = (at: string) => [
    { stream: 'host-h1' as const, expected: 'any' as const, events: [proxyIdle(at)] },
  ];
  await store.append(idle('before'), context(undefined, RUN));
  await admin.query(
    `insert into public.events select nextval('public.log_position'), gen_random_uuid(), 'childJob-j', 'childJob', n, 'ChunkReceived', 1, '{}',
       $1, 'cause', null, 'tests', '', now() from generate_series(1, $2::int) n`,
    [RUN, CHUNKS],
  );
  await admin.query('analyze public.events');
  await store.append(idle('after'), context(undefined, RUN));
}, 60_000);
afterAll(async () => {
  await admin?.end();
  await server?.close();
}, 60_000);

/** By any index or by none. What a connection has counted is told at the latest when it ends. */
async function rowsFetched(): Promise<number> {
  const { rows } = await admin.query<{ rows: string }>(
    `select seq_tup_read + idx_tup_fetch as rows from pg_stat_user_tables where relname = 'events'`,
  );
  return Number(rows[0]?.rows);
}

const costOf = (filter: LogFilter) =>
  costOfReading(async (store) =>
    (await store.readLog(0, filter)).events.map(({ data }) => ('proxyId' in data ? data.proxyId : '')),
  );

async function costOfReading<T>(
  read: (store: EventStore) => Promise<T>,
): Promise<{ found: T; rows: number }> {
  const before = await rowsFetched();
  const store = await connectEventStore({ url: server.urlOf('proxy-manager'), service: 'proxy-manager' });
  const found = await read(store);
  await store.close();
  return await eventually('the count of the connection', 20_000, async () => {
    const rows = (await rowsFetched()) - before;
    return rows > 0 ? { found, rows } : undefined;
  });
}

test.each<[string, LogFilter]>([
  ['a type', { types: ['ProxyIdle'] }],
  ['several types, one of them twice', { types: ['ProxyIdle', 'ProxyLost', 'ProxyIdle'] }],
  ['a category', { categories: ['host'] }],
  ['a category of one run', { categories: ['host'], correlation: RUN }],
  ['a type of one run', { types: ['ProxyIdle'], correlation: RUN }],
])('%s is found without a walk over the chunks before it', async (_, filter) => {
  const { found, rows } = await costOf(filter);
  expect(found).toEqual(['before', 'after']);
  expect(rows).toBeLessThan(100);
});

test('what a login owns is found without a walk, of types that are not known here too', async () => {
  const newer = { stream: 'host-h1', type: 'ProxyPraised', schemaVersion: 1, data: {} };
  await appendAsNewerRelease(server.urlOf('proxy-manager'), newer);
  await (await server.store('trigger')).append(
    [{ stream: 'vm-h1.v', expected: 'none', events: [vmClaimed('v')] }],
    context(),
  );
  const { found, rows } = await costOfReading((store) => store.readOwnLog(0));
  expect(found.records.map(({ type }) => type)).toEqual(['ProxyIdle', 'ProxyIdle', 'ProxyPraised']);
  expect([found.next, rows < 100]).toEqual([found.highWater, true]);
  const { found: first } = await costOfReading((store) => store.readOwnLog(0, { limit: 1 }));
  expect(first.records.map(({ position }) => position)).toEqual([first.next]);
});

test('the count sees a walk where there is one', async () => {
  const { rows } = await costOf({ types: ['ChunkExported'], correlation: RUN });
  expect(rows).toBeGreaterThan(CHUNKS / 2);
});

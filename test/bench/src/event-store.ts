/**
 * The event store beside emmett-postgresql: the same server (fsync on, defaults), the same event, exact expectations,
 * as many connections. Short rounds of the two alternate, and the ratio is the median of each round's own, so that what else
 * the machine does hits both alike.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectEventStore, type EventStore, migrate, serviceUrl, tail } from '@backhaul/event-store';
import { startPostgres } from '@backhaul/local';
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import pg from 'pg';
import { type Appender, backhaulAppender, emmettAppender, oneEvent } from './event-store-appenders.ts';
import { measureReplay, seed } from './event-store-replay.ts';
import { type Figures, type Note, print } from './figures.ts';
import { median } from './peers.ts';

const ROUNDS = 15;
const ROUND_MILLISECONDS = 400;
const POOL_SIZE = 16;
const PASSWORD = 'bench';

const workloads = [
  { key: 'append1', callers: 1, batch: 1 },
  { key: 'append16', callers: 16, batch: 1 },
  { key: 'batch100x4', callers: 4, batch: 100 },
] as const;

export async function run(note: Note): Promise<undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'backhaul-bench-store-'));
  const server = await startPostgres({ directory: join(directory, 'pg') });
  try {
    const adminUrl = await server.createDatabase('ours');
    await migrate({ adminUrl, rolePassword: PASSWORD });
    const url = serviceUrl(adminUrl, 'ingest', PASSWORD);
    const store = await connectEventStore({ url, service: 'ingest', poolSize: POOL_SIZE });
    const peerUrl = await server.createDatabase('theirs');
    const pool = new pg.Pool({ connectionString: peerUrl, max: POOL_SIZE });
    // Connections of it may still be closing when the server stops.
    pool.on('error', () => undefined);
    const peer = getPostgreSQLEventStore(peerUrl, { connectionOptions: { connectionString: peerUrl, pool } });
    try {
      await peer.schema.migrate();
      const [ours, theirs] = [backhaulAppender(store), emmettAppender(peer)];
      await seed(ours);
      await seed(theirs);
      note(await measureReplay(store, peer, { ours: adminUrl, theirs: peerUrl }));
      for (const workload of workloads) note(await compareAppends(workload, ours, theirs));
      note(await measureTail(store));
    } finally {
      await store.close();
      await peer.close();
      await pool.end();
    }
  } finally {
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function compareAppends(
  { key, callers, batch }: (typeof workloads)[number],
  ours: Appender,
  theirs: Appender,
): Promise<Figures> {
  const [mine, peers]: [number[], number[]] = [[], []];
  await appendFor(200, ours, callers, batch); // connections, plans and compiled code warm up
  await appendFor(200, theirs, callers, batch);
  for (let round = 0; round < ROUNDS; round += 1) {
    mine.push(await appendFor(ROUND_MILLISECONDS, ours, callers, batch));
    peers.push(await appendFor(ROUND_MILLISECONDS, theirs, callers, batch));
  }
  const ratios = mine.map((speed, round) => speed / (peers[round] ?? Number.NaN));
  return {
    [`eventStore.${key}.eventsPerSecond`]: Math.round(median(mine)),
    [`eventStore.${key}.emmettEventsPerSecond`]: Math.round(median(peers)),
    [`eventStore.${key}.vsEmmett`]: Number(median(ratios).toFixed(2)),
  };
}

/** Every caller appends to a stream of its own, one call after the other. Events per second. */
async function appendFor(
  milliseconds: number,
  appender: Appender,
  callers: number,
  batch: number,
): Promise<number> {
  const start = performance.now();
  let events = 0;
  const caller = async (): Promise<void> => {
    const append = appender();
    while (performance.now() - start < milliseconds) {
      await append(batch);
      events += batch;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return (events / (performance.now() - start)) * 1000;
}

/** From the commit of an append to the handler of a tail reader in the same process, as in a relay. */
async function measureTail(store: EventStore): Promise<Figures> {
  const over = new AbortController();
  const delays: number[] = [];
  let committedAt = 0;
  let handled: () => void = () => undefined;
  const after = (await store.readLog(0, { correlation: 'nothing' })).next;
  const reading = (async () => {
    for await (const page of tail(store, { after, signal: over.signal })) {
      if (page.events.length === 0) continue;
      delays.push(performance.now() - committedAt);
      handled();
    }
  })();
  for (let i = 0; i < 500; i += 1) {
    const seen = new Promise<void>((resolve) => {
      handled = resolve;
    });
    const append = store.append(...oneEvent('childJob-tailed', 'any'));
    committedAt = performance.now();
    append.then(() => {
      committedAt = performance.now();
    });
    await append;
    await seen;
  }
  over.abort();
  await reading;
  delays.sort((a, b) => a - b);
  const at = (share: number): number =>
    Number((delays[Math.floor(delays.length * share)] ?? Number.NaN).toFixed(2));
  return { 'eventStore.tail.p50Milliseconds': at(0.5), 'eventStore.tail.p99Milliseconds': at(0.99) };
}

if (import.meta.main) await run(print);

/**
 * The proof that readers never miss an event: positions are taken in one order and committed in another, and 25 writers
 * make as much of that as they can, with transactions that dawdle between append and commit, and some that roll back.
 * A plain reader of `position > n` runs beside them as the control: it must miss events, or the load proves nothing.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Recorded, StreamName } from '@backhaul/contracts';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { EventStore, StreamAppend } from './event-store.ts';
import { context, proxyIdle } from './examples.fixture.ts';
import { tail } from './tail.ts';
import { openTestStore, type TestStore } from './testing.ts';

const WRITERS = 25;
const LOAD_MILLISECONDS = 5_000;

let server: TestStore;
beforeAll(async () => {
  server = await openTestStore();
}, 60_000);
afterAll(() => server?.close(), 60_000);

test(`${WRITERS} writers against three readers: every committed event is seen once, in the order of the log`, async () => {
  const store = await server.store('proxy-manager', { poolSize: WRITERS });
  const others = [await server.store('console'), await server.store('ingest')];
  const loadEnd = Date.now() + LOAD_MILLISECONDS;
  const over = new AbortController();
  onTestFinished(() => over.abort());

  const readers = [store, ...others].map((each, index) => follow(each, over.signal, index === 2 ? 7 : 1_000));
  const plain = followPlainly(others[0] as EventStore, over.signal);
  const written = (
    await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(store, writer, loadEnd)))
  ).flat();
  const last = Math.max(...written.map((event) => event.position));
  await Promise.all(readers.map((reader) => reader.reached(last)));
  over.abort();

  const committed = inOrder(written);
  expect(committed.length).toBeGreaterThan(1_000);
  for (const reader of readers) expect(await reader.seen).toEqual(committed);
  const missed = new Set(committed).difference(new Set(await plain));
  expect(missed.size, 'events that a plain reader missed').toBeGreaterThan(0);
  console.log(`${committed.length} events; a plain reader would have missed ${missed.size} of them`);
}, 60_000);

const line = (event: Recorded): string =>
  `${event.position} ${event.stream} ${event.version} ${event.eventId}`;
const inOrder = (events: Recorded[]): string[] => events.sort((a, b) => a.position - b.position).map(line);

/** Appends until the time is over, alone and in batches, to a stream of its own and to one that all share. */
async function write(store: EventStore, writer: number, end: number): Promise<Recorded[]> {
  const written: Recorded[] = [];
  for (let turn = 0; Date.now() < end; turn += 1) {
    const events = Array.from({ length: 1 + (turn % 3) }, () => proxyIdle(`p${turn}`));
    const streams: StreamName[] = turn % 5 === 0 ? ['host-shared', `host-w${writer}`] : [`host-w${writer}`];
    const appends = streams.map((stream): StreamAppend => ({ stream, expected: 'any', events }));
    const rollBack = turn % 11 === 10;
    if ((writer + turn) % 3 > 0 && !rollBack) {
      const result = await store.append(appends, context());
      if (result.ok) written.push(...result.value.events);
      continue;
    }
    const work = store.transaction(async (transaction) => {
      const result = await transaction.append(appends, context());
      await pause(Math.random() * 15);
      if (rollBack) throw new Error('rolled back on purpose');
      return result.ok ? result.value.events : [];
    });
    if (rollBack) await expect(work).rejects.toThrow('on purpose');
    else written.push(...(await work));
  }
  return written;
}

/** `seen` in the order of arrival; `reached` once the reader has passed a position. */
function follow(store: EventStore, signal: AbortSignal, limit: number) {
  let position = 0;
  let passed: () => void = () => undefined;
  const seen = (async () => {
    const lines: string[] = [];
    for await (const page of tail(store, { after: 0, signal, limit, idleMilliseconds: 20 })) {
      lines.push(...page.events.map(line));
      position = page.next;
      passed();
    }
    return lines;
  })();
  const reached = (goal: number): Promise<void> =>
    new Promise((resolve) => {
      passed = () => {
        if (position >= goal) resolve();
      };
      passed();
    });
  return { seen, reached };
}

/** What most pollers do, and what this store exists to do better. */
async function followPlainly(store: EventStore, signal: AbortSignal): Promise<string[]> {
  const lines: string[] = [];
  let position = 0;
  while (!signal.aborted) {
    const rows: Record<string, string | number>[] = await store.kysely
      .selectFrom('events')
      .select(['position', 'stream_id', 'version', 'event_id'])
      .where('position', '>', position)
      .orderBy('position')
      .limit(1_000)
      .execute();
    for (const row of rows) lines.push(`${row.position} ${row.stream_id} ${row.version} ${row.event_id}`);
    position = Number(rows.at(-1)?.position ?? position);
    if (rows.length === 0) await pause(5);
  }
  return lines;
}

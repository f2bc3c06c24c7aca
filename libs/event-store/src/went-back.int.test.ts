/** A database that came back as it was earlier, under a process that has read more than it holds now. */
import { randomUUID } from 'node:crypto';
import { Fault } from '@backhaul/kernel';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type EarlierDatabase, earlierDatabase } from './earlier-database.ts';
import type { EventStore } from './event-store.ts';
import { context, proxyIdle } from './examples.fixture.ts';
import { connectEventStore } from './postgres-event-store.ts';
import { serviceUrl } from './roles.ts';
import { openTestStore, TEST_PASSWORD, type TestStore } from './testing.ts';
import type { LogWentBack } from './witness.ts';

let server: TestStore;
beforeAll(async () => {
  server = await openTestStore();
});
afterAll(() => server?.close());

let databases = 0;
let name: string;
/** Its pool lives through everything that is done to the database. */
let survivor: EventStore;
let database: EarlierDatabase;
let found: LogWentBack[];
beforeEach(async () => {
  databases += 1;
  name = `moving${databases}`;
  await server.openDatabase(name);
  database = earlierDatabase(server.adminUrl, name);
  found = [];
  survivor = await connectAs('proxy-manager', (fault) => found.push(fault));
  return () => survivor.close();
});

async function connectAs(
  service: 'proxy-manager' | 'planner',
  onWentBack?: (fault: LogWentBack) => void,
): Promise<EventStore> {
  const url = new URL(server.adminUrl);
  url.pathname = `/${name}`;
  const options = onWentBack === undefined ? {} : { onWentBack };
  return await connectEventStore({ url: serviceUrl(url.href, service, TEST_PASSWORD), service, ...options });
}

async function append(store: EventStore, count: number): Promise<void> {
  for (let each = 0; each < count; each += 1)
    await store.append(
      [{ stream: 'host-lab', expected: 'any', events: [proxyIdle('p')] }],
      context(randomUUID()),
    );
}

/** What is answered on a connection that still stands: the ones that were ended are found out by using them. */
async function lookAgain(): Promise<unknown> {
  for (;;) {
    const answer = await survivor.readLog(0, { types: ['ProxyIdle'] }).catch((error: unknown) => error);
    if (!(answer instanceof Fault) || answer.code === 'LogWentBack') return answer;
  }
}

test('a log that became shorter is told by name, before anybody goes on from a position of the old one', async () => {
  await append(survivor, 5);
  await database.remember();
  await append(survivor, 5).catch(() => append(survivor, 5));
  await survivor.readLog(0);
  await database.putBack();
  expect(await lookAgain()).toMatchObject({ code: 'LogWentBack', permanent: true });
  expect(found.length).toBeGreaterThan(0);
  expect(String(found[0])).toMatch(/The log went back: event \S+, which stood at position \d+,/);
});

test('so is one that has grown past that position again since', async () => {
  await append(survivor, 5);
  await database.remember();
  await append(survivor, 2).catch(() => append(survivor, 2));
  await survivor.readLog(0);
  await database.putBack();
  const other = await connectAs('proxy-manager');
  await append(other, 20);
  await other.close();
  expect(await lookAgain()).toMatchObject({ code: 'LogWentBack' });
  await expect(survivor.readLog(0)).rejects.toMatchObject({ code: 'LogWentBack' });
});

test('a server that only went away and came back is no other log', async () => {
  await append(survivor, 5);
  await database.interrupt();
  expect(await lookAgain()).toMatchObject({ highWater: 5 });
  await append(survivor, 1);
  expect((await survivor.readLog(0)).events).toHaveLength(6);
  expect(found).toEqual([]);
});

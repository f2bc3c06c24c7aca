import type { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import Fastify, { type FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { prepareGenerations } from './adapters/generations.ts';
import { projectRound } from './adapters/projector.ts';
import { apiRoutes, serveApi } from './api/api.ts';
import { type Narrator, narrator } from './testing/append-story.ts';
import { backupIdOf, backupStory, redriveStory } from './testing/story.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let server: TestStore;
let store: EventStore;
let story: Narrator;
let http: FastifyInstance;
const stopping = new AbortController();

beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('console');
  story = narrator((service) => server.store(service));
  await prepareGenerations(store.kysely);
  await story.tell(backupStory({ name: 'b2' }));
  http = Fastify();
  await serveApi(http, apiRoutes(store, { signal: stopping.signal }));
});
afterAll(async () => {
  stopping.abort();
  await http?.close();
  await server?.close();
});

async function catchUp(): Promise<void> {
  while (await projectRound({ store, signal: stopping.signal }));
}

const get = async (path: string) => ({ body: (await http.inject(`/api/v1${path}`)).json() });

test('the list of dead letters shows the reason, by whom they were sent again, and whether they came back', async () => {
  const ingest = await server.store('ingest');
  await sql`insert into public.dead_letters (consumer, subject, message_id, headers, body, reason, redriven_at) values
    ('ingest__run', 'evt.x', 'm1', '{}', '', 'does not fit', null),
    ('ingest__run', 'evt.x', 'm2', '{}', '', 'no such chunk', '2026-01-01T00:00:10Z'),
    ('ingest__other', 'evt.x', 'm2', '{}', '', 'of another consumer', null),
    ('ingest__run', 'evt.x', 'm2', '{}', '', 'still no such chunk', null)`.execute(ingest.kysely);
  const before = (await get('/dead-letters')).body.items;
  const [back, , second] = before;
  await story.tell(redriveStory(second.deadLetterId));
  await catchUp();
  const open = (await get('/dead-letters?state=open')).body.items;
  expect(open.map((letter: consoleApi.DeadLetterView) => letter.reason)).toEqual([
    'still no such chunk',
    'of another consumer',
    'does not fit',
  ]);
  const untouched = { redrivenAt: null, redrivenBy: null, redriveReason: null, sentAt: null };
  expect(open[2]).toMatchObject({ messageId: 'm1', ...untouched, cameBackAs: null });
  expect((await get('/dead-letters?state=redriven')).body.items).toEqual([
    {
      ...second,
      redrivenAt: '2026-01-01T00:00:09Z',
      redrivenBy: 'ops',
      redriveReason: 'the chunk is there now',
      sentAt: '2026-01-01T00:00:10Z',
      cameBackAs: back.deadLetterId,
    },
  ]);
  // It is the last thing in the story of the backup that the message was about.
  const told = (await get(`/backups/${backupIdOf('b2')}/events?limit=500`)).body.items;
  expect(told.slice(-2).map((event: consoleApi.RecordedEvent) => event.type)).toEqual([
    'ProxyDeactivated',
    'DeadLetterRedriven',
  ]);
  const first = await get('/dead-letters?limit=3');
  expect((await get(`/dead-letters?limit=1&after=${first.body.next}`)).body.items[0].messageId).toBe('m1');
});

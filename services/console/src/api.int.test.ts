import { consoleApi } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { eventually } from '@backhaul/kernel';
import Fastify, { type FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { prepareGenerations } from './adapters/generations.ts';
import { projectRound, runProjector } from './adapters/projector.ts';
import { apiRoutes, serveApi } from './api/api.ts';
import type { Route } from './api/route.ts';
import { apiScene } from './testing/api-scene.ts';
import { type Narrator, narrator } from './testing/append-story.ts';
import { backupIdOf, backupStory, recoveryStory, teller } from './testing/story.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let server: TestStore;
let store: EventStore;
let story: Narrator;
let http: FastifyInstance;
let routes: Route[];
let url: string;
const stopping = new AbortController();

beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('console');
  story = narrator((service) => server.store(service));
  await prepareGenerations(store.kysely);
  await story.tell(apiScene());
  await catchUp();
  http = Fastify({ forceCloseConnections: true });
  routes = apiRoutes(store, { signal: stopping.signal, heartbeatMilliseconds: 50, idleMilliseconds: 10 });
  await serveApi(http, routes);
  url = await http.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  stopping.abort();
  await http?.close();
  await server?.close();
});

async function catchUp(): Promise<void> {
  while (await projectRound({ store, signal: stopping.signal }));
}

async function get(
  path: string,
  init?: RequestInit,
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely, and checked against their schemas
): Promise<{ status: number; body: any; type: string | null }> {
  const response = await fetch(`${url}/api/v1${path}`, init);
  return { status: response.status, body: await response.json(), type: response.headers.get('content-type') };
}

describe('every route', () => {
  test('answers what its schema in the OpenAPI document says', async () => {
    for (const route of routes.filter((each) => each.method === 'GET' && each.path !== '/stream')) {
      const id = backupIdOf(route.path.startsWith('/recoveries') ? 'r1' : 'b1');
      const { status, body } = await get(route.path.replace(':id', id));
      expect([route.path, status]).toEqual([route.path, 200]);
      expect(route.answer.parse(body)).toEqual(body);
    }
  });

  test('is in the OpenAPI document, with its parameters and its problem', async () => {
    const { body } = await get('/openapi.json');
    expect(Object.keys(body.paths)).toEqual(
      expect.arrayContaining([
        '/api/v1/backups/{id}/explain',
        '/api/v1/recoveries/{id}/explain',
        '/api/v1/stream',
      ]),
    );
    const operation = body.paths['/api/v1/backups'].get;
    expect(operation.parameters.map((parameter: { name: string }) => parameter.name)).toEqual([
      'limit',
      'after',
      'state',
      'host',
      'vm',
    ]);
    expect(operation.responses['200'].content['application/json'].schema.properties.items.type).toBe('array');
    expect(operation.responses.default.content['application/problem+json']).toBeDefined();
  });
});

describe('a list', () => {
  test('comes in pages that together hold every row once', async () => {
    const seen: string[] = [];
    for (let path = '/child-jobs?limit=5'; ; ) {
      const { body } = await get(path);
      seen.push(...body.items.map((job: consoleApi.ChildJobView) => job.childJobId));
      if (body.next === null) break;
      path = `/child-jobs?limit=5&after=${body.next}`;
    }
    expect(seen).toHaveLength(12);
    expect(new Set(seen).size).toBe(12);
  });

  test('is filtered by one value or several', async () => {
    const states = async (query: string) =>
      (await get(`/backups?${query}`)).body.items.map((backup: consoleApi.BackupView) => backup.state);
    expect(await states('state=completed')).toEqual(['completed', 'completed']);
    expect(await states('state=transferring,completed&vm=web-1')).toEqual(['transferring', 'completed']);
    expect(await states('host=mars')).toEqual([]);
    const { body } = await get(`/recoveries?state=failed&vm=web-2&backup=${backupIdOf('b1')}`);
    expect(body.items.map((each: consoleApi.RecoveryView) => each.recoveryId)).toEqual([backupIdOf('r2')]);
    const streams = await get(`/data-streams?recovery=${backupIdOf('r1')}`);
    expect(streams.body.items).toHaveLength(2);
  });

  test('shows a port with its holder, and what is still to be given back', async () => {
    const { body: proxies } = await get('/proxies?state=active');
    const ports = proxies.items.flatMap((proxy: consoleApi.ProxyView) => proxy.ports);
    expect(ports.map((port: { heldBy: string | null }) => port.heldBy)).toContain(
      `${backupIdOf('b3')}.vda.0`,
    );
    const { body: open } = await get(`/obligations?run=${backupIdOf('b3')}`);
    expect(new Set(open.items.map((each: consoleApi.ObligationView) => each.kind))).toEqual(
      new Set(['snapshot', 'proxy', 'attachment', 'lease']),
    );
  });
});

describe('a request that is wrong', () => {
  const problem = async (path: string) => {
    const { status, body, type } = await get(path);
    expect(type).toMatch(/^application\/problem\+json/);
    expect(consoleApi.Problem.parse(body).status).toBe(status);
    return `${status} ${body.detail} ${body.wayOut}`;
  };

  test('names the thing and the way out', async () => {
    expect(await problem('/backups?colour=red')).toMatch(
      /^400 Query parameter colour is not known\. Leave it out; known here: limit, after, state, host, vm\.$/,
    );
    expect(await problem('/backups?state=done')).toMatch(
      /^400 Query parameter state cannot be "done", only queued, /,
    );
    expect(await problem('/backups?limit=0')).toMatch(/^400 Query parameter limit must be at least 1\./);
    expect(await problem('/backups?after=xyz')).toMatch(
      /^400 Query parameter after is not a cursor of this list/,
    );
    expect(await problem('/vms?after=WzFd')).toMatch(
      /^400 Query parameter after is not a cursor of this list/,
    );
    expect(await problem('/vms?host=a&host=b')).toMatch(/^400 Query parameter host /);
    expect(await problem('/nothing')).toMatch(/^404 GET \/api\/v1\/nothing is not part of this API/);
    expect(await problem('/backups/00000000-0000-4000-8000-000000000000')).toMatch(
      /^404 There is no backup 0000/,
    );
    expect(await problem('/backups/drop-table')).toMatch(/^400 drop-table is no backup id/);
    expect(await problem('/stream?backup=b1')).toMatch(/^400 Query parameter backup must be the whole id/);
    expect(await problem(`/stream?backup=${backupIdOf('b1')}&recovery=${backupIdOf('r1')}`)).toMatch(
      /^400 Query parameters backup and recovery name two runs/,
    );
    expect(await problem('/recoveries/00000000-0000-4000-8000-000000000000')).toMatch(
      /^404 There is no recovery 0000.* GET \/api\/v1\/recoveries lists/,
    );
  });

  test('is told which backups a short id may mean', async () => {
    const ids = ['b1', 'b2', 'b3'].map(backupIdOf);
    const short = ids[0]?.slice(0, 8) ?? '';
    expect((await get(`/backups/${short}`)).body.item.backupId).toBe(ids[0]);
    const tell = teller('x');
    for (const last of ['1', '2']) {
      const backupId = `aaaaaaaa-0000-4000-8000-00000000000${last}`;
      tell.append('backup', backupId, 'BackupRefused', {
        backupId,
        origin: { via: 'nats', requestId: last },
        refusal: { code: 'Malformed', message: 'No.' },
        request: '{}',
        refusedAt: '2026-01-01T00:00:00.000Z',
      });
    }
    await story.tell(tell.told);
    await catchUp();
    expect(await problem('/backups/aaaa')).toMatch(
      /^409 aaaa is the beginning of several backups: .* Give more of the id\.$/,
    );
  });
});

describe('one backup', () => {
  test('tells its whole story in order, in pages', async () => {
    const whole = backupStory({ name: 'b1', interrupted: true }).map(({ event }) => event.type);
    const types: string[] = [];
    let after = '0';
    for (;;) {
      const { body } = await get(`/backups/${backupIdOf('b1')}/events?limit=20&after=${after}`);
      types.push(...body.items.map((event: consoleApi.RecordedEvent) => event.type));
      if (body.next === null) break;
      after = body.next;
    }
    expect(types).toEqual(whole);
    const some = await get(`/backups/${backupIdOf('b1')}/events?type=BackupCompleted,ProxyLost`);
    expect(some.body.items.map((event: consoleApi.RecordedEvent) => event.type)).toEqual([
      'ProxyLost',
      'BackupCompleted',
    ]);
  });

  test('tells what befell a proxy that it shared until it had given everything back, and not later', async () => {
    const lost = async (run: string) =>
      (await get(`/${run}/events?type=ProxyLost`)).body.items.map(
        (event: consoleApi.RecordedEvent) => event.data.proxyId,
      );
    expect(await lost(`recoveries/${backupIdOf('r3')}`)).toEqual(['lab-shared']);
    expect(await lost(`recoveries/${backupIdOf('r1')}`)).toEqual([]);
    expect(await lost(`backups/${backupIdOf('b2')}`)).toEqual([]);
  });

  test('is explained from the log', async () => {
    const { body } = await get(`/backups/${backupIdOf('b1')}/explain`);
    expect(body.item.retries).toHaveLength(1);
    expect(body.item.lines.join('\n')).toMatch(/Wave 2: 2 child jobs through 1 proxy/);
  });
});

describe('one recovery', () => {
  test('tells its whole story in order, with its proxies', async () => {
    const told = recoveryStory({ name: 'r1', backup: 'b1', shared: true }).map(({ event }) => event.type);
    const { body } = await get(`/recoveries/${backupIdOf('r1').slice(0, 9)}/events?limit=200`);
    expect(body.items.map((event: consoleApi.RecordedEvent) => event.type)).toEqual(told);
    expect(told).toContain('ProxyActivated');
  });

  test('is explained from the log', async () => {
    const { body } = await get(`/recoveries/${backupIdOf('r2')}/explain`);
    expect(body.item).toMatchObject({ state: 'failed', alternative: { backupId: backupIdOf('older') } });
    expect(body.item.lines.join('\n')).toMatch(/Wave 1: 2 data streams through 2 proxies/);
  });
});

describe('the status', () => {
  test('says how far behind the projections are, in events and in milliseconds', async () => {
    await story.tell(backupStory({ name: 'behind' }).slice(0, 2));
    const { body } = await get('/status');
    expect(body.behindEvents).toBe(2);
    expect(body.behindMilliseconds).toBeGreaterThan(0);
    expect((await get('/vms')).body.asOf).toBe(body.checkpoint);
    await catchUp();
    expect((await get('/status')).body).toMatchObject({
      behindEvents: 0,
      behindMilliseconds: 0,
      problem: null,
    });
  });

  test('a rebuild asked for over HTTP answers at once, and readers see no gap while it swaps in', async () => {
    const before = (await get('/backups')).body.items;
    const { status, body } = await get('/projections/rebuild', { method: 'POST' });
    expect([status, body]).toEqual([202, { generation: 2, alreadyRunning: false }]);
    expect((await get('/status')).body.rebuild).toMatchObject({
      generation: 2,
      reason: 'asked for over HTTP',
    });
    const end = new AbortController();
    const running = runProjector({ store, signal: end.signal, pageEvents: 10, idleMilliseconds: 5 });
    try {
      await eventually(
        'the rebuilt tables to be in use',
        20_000,
        async () => {
          expect((await get('/backups')).body.items).toEqual(before);
          return (await get('/status')).body.generation === 2 ? true : undefined;
        },
        1,
      );
    } finally {
      end.abort();
      await running;
    }
    expect((await get('/backups')).body.items).toEqual(before);
  });

  test('tables of another shape are not read: the answer is to come back', async () => {
    await sql`update console.generations set code = '1:another'`.execute(store.kysely);
    const { status, body } = await get('/vms');
    expect([status, body.code]).toEqual([503, 'ProjectionsRebuilding']);
    await prepareGenerations(store.kysely);
    await catchUp();
    expect((await get('/vms')).status).toBe(200);
  });
});

describe('the live stream', () => {
  /** Reads server-sent events until `enough` says so. */
  async function follow(
    path: string,
    enough: (text: string) => boolean,
    { headers = {}, onOpen }: { headers?: Record<string, string>; onOpen?: () => Promise<void> } = {},
  ): Promise<string> {
    const end = new AbortController();
    const response = await fetch(`${url}/api/v1${path}`, { headers, signal: end.signal });
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    let text = '';
    for await (const chunk of response.body ?? []) {
      if (text === '') await onOpen?.();
      text += Buffer.from(chunk).toString('utf8');
      if (enough(text)) break;
    }
    end.abort();
    return text;
  }
  const types = (text: string): string[] =>
    [...text.matchAll(/^event: (.*)$/gm)].map((match) => match[1] ?? '');

  test('tells the whole story of one backup from the start, and no other', async () => {
    const text = await follow(`/stream?after=0&backup=${backupIdOf('b2')}`, (seen) =>
      seen.includes('RunClosed'),
    );
    expect(types(text)).toEqual(
      backupStory({ name: 'b2', vmId: 'db-1', shared: true })
        .filter(({ correlation }) => correlation === backupIdOf('b2'))
        .map(({ event }) => event.type),
    );
  });

  test('goes on after the last event that was received', async () => {
    const all = await follow(`/stream?after=0&backup=${backupIdOf('b2')}`, (seen) =>
      seen.includes('RunClosed'),
    );
    const ids = [...all.matchAll(/^id: (\d+)\nevent/gm)].map((match) => match[1] ?? '');
    const rest = await follow(`/stream?backup=${backupIdOf('b2')}`, (seen) => seen.includes('RunClosed'), {
      headers: { 'last-event-id': ids[9] ?? '' },
    });
    expect(types(rest)).toEqual(types(all).slice(10));
  });

  test('without a place to begin, tells what is recorded from now on', async () => {
    const text = await follow(
      `/stream?backup=${backupIdOf('live')}`,
      (seen) => seen.includes('BackupTriggered'),
      { onOpen: () => story.tell(backupStory({ name: 'live' }).slice(0, 2)) },
    );
    expect(types(text)).toEqual(['VmClaimed', 'BackupTriggered']);
  });

  test('shows that it lives while nothing happens', async () => {
    expect(await follow('/stream', (seen) => seen.includes(': still here'))).toMatch(
      /^retry: 1000\nid: \d+\n/,
    );
  });
});

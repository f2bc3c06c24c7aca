/** Cursors and filters that somebody made up, against the real tables: no answer is a failure of the console. */
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { prepareGenerations } from './adapters/generations.ts';
import { apiRoutes, serveApi } from './api/api.ts';
import type { Route } from './api/route.ts';

let server: TestStore;
let http: FastifyInstance;
let lists: Route[];

beforeAll(async () => {
  server = await openTestStore();
  const store = await server.store('console');
  await prepareGenerations(store.kysely);
  const routes = apiRoutes(store, { signal: new AbortController().signal });
  lists = routes.filter(
    ({ path, query }) => !path.includes(':') && 'after' in query.shape && path !== '/stream',
  );
  http = Fastify();
  await serveApi(http, routes);
});
afterAll(async () => {
  await http?.close();
  await server?.close();
});

const cursor = (values: unknown): string => Buffer.from(JSON.stringify(values)).toString('base64url');
const after = async (path: string, values: unknown) =>
  (await http.inject({ url: `/api/v1${path}?after=${cursor(values)}` })).json();

test('there are lists', () => {
  expect(lists.length).toBeGreaterThan(10);
});

test('a cursor of no page of a list is told as that, whatever is in it', async () => {
  const made: unknown[] = ['x', 'a\0b', '1e400', -1.5, 2 ** 60, null, {}, [], true];
  for (const { path } of lists) {
    for (const one of made) {
      for (const values of [one, [one], [one, one], [one, 'x'], [1, one], [one, one, one]]) {
        const { status = 200, code } = await after(path, values);
        if (status !== 200) expect([path, values, status, code]).toEqual([path, values, 400, 'BadCursor']);
      }
    }
    const numbers = await Promise.all([[2 ** 53 - 1], [1, 2 ** 53 - 1]].map((values) => after(path, values)));
    for (const { status = 200 } of numbers) expect([200, 400]).toContain(status);
  }
  expect(await after('/backups', ['x'])).toMatchObject({ status: 400, code: 'BadCursor' });
  expect(await after('/backups', ['17'])).toMatchObject({ items: [] });
  expect(await after('/child-jobs', [17, 2 ** 40])).toMatchObject({ items: [] });
});

test('a filter that no text can be is told as a wrong parameter', async () => {
  for (const path of ['/backups?vm=a%00b', '/vms?host=%00', '/queue?host=%00']) {
    const answer = await http.inject({ url: `/api/v1${path}` });
    expect([path, answer.statusCode, answer.json().code]).toEqual([path, 400, 'BadParameter']);
  }
});

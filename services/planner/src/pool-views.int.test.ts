/** What a planner knows of a host when it has just started, as its database role may read it. */
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { appendLife, notingReads } from '@backhaul/kept-pools/testing';
import { HOST } from '@backhaul/pool/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { poolViewsFrom } from './adapters/pool-views.ts';

let server: TestStore;
beforeAll(async () => {
  server = await openTestStore();
});
afterAll(() => server?.close());

/** The answer, and after which version the log was asked for all that follows. */
async function startedWith(store: EventStore) {
  const reading = notingReads(store);
  return { view: await poolViewsFrom(reading.store)(HOST), from: reading.readFrom.at(-1) };
}

test('a start goes on from the pool that the proxy-manager kept', async () => {
  const life = await appendLife(await server.store('proxy-manager'));
  const store = await server.store('planner');
  const before = await startedWith(store);
  expect(before.from).toBe(0);
  expect(before.view.activeProxies.length).toBeGreaterThan(0);

  const version = await life.keep();
  expect(version).toBeGreaterThan(0);
  expect(await startedWith(store)).toEqual({ view: before.view, from: version });
});

/** What the console knows of a host when it has just started, as its database role may read it. */
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { appendLife, notingReads } from '@backhaul/kept-pools/testing';
import { HOST } from '@backhaul/pool/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Pools } from './adapters/pools.ts';

let server: TestStore;
beforeAll(async () => {
  server = await openTestStore();
});
afterAll(() => server?.close());

/** The answer, and after which version the log was asked for all that follows. */
async function startedWith(store: EventStore) {
  const reading = notingReads(store);
  return {
    pool: await new Pools(reading.store).read(HOST, (pool) => structuredClone(pool)),
    from: reading.readFrom.at(-1),
  };
}

test('a start goes on from the pool that the proxy-manager kept', async () => {
  const life = await appendLife(await server.store('proxy-manager'));
  const store = await server.store('console');
  const before = await startedWith(store);
  expect(before.from).toBe(0);
  expect(before.pool.runs.size).toBe(3);

  const version = await life.keep();
  expect(version).toBeGreaterThan(0);
  expect(await startedWith(store)).toEqual({ pool: before.pool, from: version });
});

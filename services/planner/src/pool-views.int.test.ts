/** What a planner knows of a host when it has just started, as its database role may read it. */
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { keptPools } from '@backhaul/kept-pools';
import { emptyPool, evolve, hostStream } from '@backhaul/pool';
import { planOf, TestPool } from '@backhaul/pool/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { poolViewsFrom } from './adapters/pool-views.ts';

let server: TestStore;
beforeAll(async () => {
  server = await openTestStore();
});
afterAll(() => server?.close());

/** The answer, and after which version the log was asked for all that follows. */
async function startedWith(store: EventStore) {
  const readFrom: number[] = [];
  const reading: EventStore = Object.assign(Object.create(store), {
    readStreamPage: (...asked: Parameters<EventStore['readStreamPage']>) => {
      readFrom.push(asked[1] ?? 0);
      return store.readStreamPage(...asked);
    },
  });
  return { view: await poolViewsFrom(reading)('lab'), from: readFrom.at(-1) };
}

test('a start goes on from the pool that the proxy-manager kept', async () => {
  const owner = await server.store('proxy-manager');
  const life = new TestPool();
  for (const vm of ['web', 'db', 'mail']) {
    life.request(planOf(vm, [2, 1], 2));
    life.run();
  }
  const appended = await owner.append([{ stream: hostStream('lab'), expected: 0, events: life.history }], {
    commandId: 'life',
    metadata: { correlation: 'lab', causation: 'lab', actor: 'proxy-manager' },
  });
  if (!appended.ok) throw new Error('The life of the host was not appended');
  const store = await server.store('planner');
  const before = await startedWith(store);
  expect(before.from).toBe(0);
  expect(before.view.activeProxies.length).toBeGreaterThan(0);

  const middle = appended.value.events[life.history.length - 10];
  if (middle === undefined) throw new Error('A life of so few events');
  const pool = life.history.slice(0, middle.version).reduce(evolve, emptyPool('lab'));
  await keptPools({ store: owner }).keep({ pool, version: middle.version }, middle.eventId);
  const after = await startedWith(store);
  expect(after).toEqual({ view: before.view, from: middle.version });
});

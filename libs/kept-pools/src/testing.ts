/** For tests of those who start from a kept pool: a host with a life behind it, kept in its middle, and where a start begins to read. */
import type { EventStore } from '@backhaul/event-store';
import { emptyPool, evolve, hostStream } from '@backhaul/pool';
import { HOST, planOf, TestPool } from '@backhaul/pool/testing';
import { keptPools } from './kept-pools.ts';

/** The store, and after which version each page of a stream was asked of it. */
export function notingReads(store: EventStore): { readonly store: EventStore; readonly readFrom: number[] } {
  const readFrom: number[] = [];
  const noting: EventStore = Object.assign(Object.create(store), {
    readStreamPage: (...asked: Parameters<EventStore['readStreamPage']>) => {
      readFrom.push(asked[1] ?? 0);
      return store.readStreamPage(...asked);
    },
  });
  return { store: noting, readFrom };
}

/** Three backups that are open at the end. `owner` logs in as the proxy-manager. `keep` answers the version that it kept the pool at. */
export async function appendLife(owner: EventStore): Promise<{ keep(): Promise<number> }> {
  const life = new TestPool();
  for (const vm of ['web', 'db', 'mail']) {
    life.request(planOf(vm, [2, 1], 2));
    life.run();
  }
  const appended = await owner.append([{ stream: hostStream(HOST), expected: 0, events: life.history }], {
    commandId: 'life',
    metadata: { correlation: HOST, causation: HOST, actor: 'proxy-manager' },
  });
  const middle = appended.ok ? appended.value.events[life.history.length - 10] : undefined;
  if (middle === undefined) throw new Error('The life of the host was not appended');
  const { version, eventId } = middle;
  return {
    async keep() {
      const pool = life.history.slice(0, version).reduce(evolve, emptyPool(HOST));
      await keptPools({ store: owner }).keep({ pool, version }, eventId);
      return version;
    },
  };
}

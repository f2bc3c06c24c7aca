import { randomUUID } from 'node:crypto';
import type { Event, StreamName } from '@backhaul/contracts';
import { type Decider, ok, refuse } from '@backhaul/kernel';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandService, commandService, untilAppended } from './command.ts';
import type { EventStore } from './event-store.ts';
import { all, context, proxyIdle } from './examples.fixture.ts';
import { appendAsNewerRelease, openTestStore, type TestStore } from './testing.ts';

/** A register of proxies: each is noted once, and there is room for `capacity`. */
interface Register {
  readonly noted: readonly string[];
}
interface Note {
  readonly proxyId: string;
  readonly capacity: number;
}
let folded = 0;
const register: Decider<Register, Note, Event<'ProxyIdle'>> = {
  initialState: { noted: [] },
  evolve: (state, { data }) => {
    folded += 1;
    return { noted: [...state.noted, data.proxyId] };
  },
  decide: (state, { proxyId, capacity }) => {
    if (state.noted.includes(proxyId)) return ok([]);
    if (state.noted.length >= capacity) return refuse({ code: 'Full', message: `No room for ${proxyId}.` });
    return ok([proxyIdle(proxyId)]);
  },
};

let server: TestStore;
let store: EventStore;
let service: CommandService<Register, Note, Event<'ProxyIdle'>>;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('proxy-manager', { poolSize: 20 });
  service = commandService(store, register);
}, 60_000);
afterAll(() => server?.close(), 60_000);
const newStream = (): StreamName => `host-${randomUUID()}`;
const note = (proxyId: string, capacity = 1_000): Note => ({ proxyId, capacity });

describe('a command', () => {
  test('stores what was decided and answers the state after it', async () => {
    const stream = newStream();
    const first = await service.execute(stream, note('p1'), context());
    expect(first).toMatchObject({
      ok: true,
      value: { version: 1, state: { noted: ['p1'] }, duplicate: false },
    });
    expect(first.ok && first.value.events.map((event) => event.data.proxyId)).toEqual(['p1']);
  });

  test('that already took effect stores nothing', async () => {
    const stream = newStream();
    await service.execute(stream, note('p1'), context());
    expect(await service.execute(stream, note('p1'), context())).toMatchObject({
      ok: true,
      value: { version: 1, events: [] },
    });
  });

  test('that is refused stores nothing and says why', async () => {
    const stream = newStream();
    await service.execute(stream, note('p1'), context());
    const refused = await service.execute(stream, note('p2', 1), context());
    expect(refused).toEqual({ ok: false, refusal: { code: 'Full', message: 'No room for p2.' } });
    expect(await all(store.readStream(stream))).toHaveLength(1);
  });

  test('with the same id again answers what was stored, and the state as it is now', async () => {
    const stream = newStream();
    const first = await service.execute(stream, note('p1'), context('same'));
    await service.execute(stream, note('p2'), context());
    const again = await service.execute(stream, note('p3'), context('same'));
    expect(again).toMatchObject({
      ok: true,
      value: { duplicate: true, version: 2, state: { noted: ['p1', 'p2'] } },
    });
    expect(again.ok && again.value.events).toEqual(first.ok && first.value.events);
  });
});

describe('many at once', () => {
  test('each decides on what the others did: the room is never overrun', async () => {
    const stream = newStream();
    const elsewhere = commandService(await server.store('proxy-manager'), register);
    const results = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        (i % 2 ? service : elsewhere).execute(stream, note(`p${i}`, 5), context()),
      ),
    );
    expect(results.filter((result) => result.ok)).toHaveLength(5);
    expect(await all(store.readStream(stream))).toHaveLength(5);
  });
});

describe('inside a transaction', () => {
  test('it stands or falls with it, and what was rolled back is not remembered', async () => {
    const stream = newStream();
    const attempt = store.transaction(async (transaction) => {
      const executed = await service.execute(stream, note('p1'), context(), transaction);
      expect(executed).toMatchObject({ ok: true, value: { state: { noted: ['p1'] } } });
      // Reading one's own append is allowed, and must not be taken for history.
      expect((await service.load(stream, transaction)).version).toBe(1);
      throw new Error('changed my mind');
    });
    await expect(attempt).rejects.toThrow('changed my mind');
    expect(await service.load(stream)).toEqual({ state: { noted: [] }, version: 0 });
  });

  test('it decides again when another was faster', async () => {
    const stream = newStream();
    await store.transaction(async (transaction) => {
      await service.load(stream, transaction);
      await service.execute(stream, note('p1'), context());
      const stale = commandService(store, { ...register, evolve: register.evolve });
      expect(await stale.execute(stream, note('p2'), context(), transaction)).toMatchObject({
        ok: true,
        value: { version: 2, state: { noted: ['p1', 'p2'] } },
      });
    });
  });
});

describe('over several streams', () => {
  test('both are loaded, decided on and appended as one', async () => {
    const [one, two] = [newStream(), newStream()];
    const move = () =>
      untilAppended(store, context(), async () => {
        const [from, to] = [await service.load(one), await service.load(two)];
        const name = `p${from.version}`;
        return ok({
          appends: [
            { stream: one, expected: from.version, events: [proxyIdle(name)] },
            { stream: two, expected: to.version, events: [proxyIdle(name)] },
          ],
          onAppended: (events) => events.length,
        });
      });
    const results = await Promise.all(Array.from({ length: 6 }, move));
    expect(results).toEqual(Array(6).fill({ ok: true, value: 2 }));
    const noted = ['p0', 'p1', 'p2', 'p3', 'p4', 'p5'];
    expect((await service.load(one)).state.noted).toEqual(noted);
    expect((await service.load(two)).state.noted).toEqual(noted);
  });
});

describe('a long stream', () => {
  test('costs only what is new in it, whoever appended', async () => {
    const stream = newStream();
    const events = Array.from({ length: 2_500 }, (_, index) => proxyIdle(`p${index}`));
    await store.append([{ stream, expected: 'none', events }], context());
    expect((await service.load(stream)).version).toBe(2_500);
    await store.append([{ stream, expected: 'any', events: [proxyIdle('q')] }], context());
    folded = 0;
    expect((await service.load(stream)).state.noted.at(-1)).toBe('q');
    expect(folded).toBe(1);
  });

  test('of which an event is not known to this release still gets the version right', async () => {
    const stream = newStream();
    await service.execute(stream, note('p1'), context());
    const newer = { stream, type: 'ProxyPraised', schemaVersion: 1, data: {} };
    await appendAsNewerRelease(server.urlOf('proxy-manager'), newer);
    expect(await service.execute(stream, note('p2'), context())).toMatchObject({
      ok: true,
      value: { version: 3, state: { noted: ['p1', 'p2'] } },
    });
    expect((await all(store.readStream(stream))).map((event) => event.version)).toEqual([1, 3]);
  });

  test('that became shorter, because the database went back to an earlier state, is read again from its start', async () => {
    const stream = newStream();
    const [kept, restored] = await Promise.all([
      server.store('proxy-manager'),
      server.openDatabase('restored'),
    ]);
    const other = await restored.store('proxy-manager');
    try {
      await commandService(kept, register).execute(stream, note('p1'), context());
      let current = kept;
      const moving = {
        readStreamPage: (...args: Parameters<EventStore['readStreamPage']>) =>
          current.readStreamPage(...args),
        append: (...args: Parameters<EventStore['append']>) => current.append(...args),
      } as EventStore;
      const survivor = commandService(moving, register);
      await survivor.execute(stream, note('p2'), context());
      current = other;
      expect(await survivor.execute(stream, note('p3'), context())).toMatchObject({
        ok: true,
        value: { version: 1, state: { noted: ['p3'] } },
      });
    } finally {
      await restored.close();
    }
  });
});

import type { Event, StreamName } from '@backhaul/contracts';
import { commandService, type EventStore, type EventTransaction, untilAppended } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId, ok } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Delivery } from './delivery.ts';
import { oneTransaction } from './handlers.ts';
import { rememberedOf } from './inbox.ts';
import { claimed, vmStream } from './test-events.fixture.ts';

let server: TestStore;
let store: EventStore;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('trigger');
}, 60_000);
afterAll(() => server?.close(), 60_000);

const deliveryOf = (name: string): Delivery => ({
  subject: name,
  headers: {},
  body: new Uint8Array(),
  identity: { messageId: name, inboxKey: derivedId(name) },
  attempt: 1,
});

/** Reads and appends as a handler does that knows nothing of the others. */
async function claim(transaction: EventTransaction, stream: StreamName, name: string): Promise<void> {
  const { version } = await transaction.readStreamPage(stream);
  const result = await transaction.append([{ stream, expected: version, events: [claimed(name)] }], {
    commandId: derivedId('claim', name),
    metadata: { correlation: name, causation: name, actor: 'trigger' },
  });
  expect(result.ok).toBe(true);
}

const versionOf = async (stream: StreamName): Promise<number> => (await store.readStreamPage(stream)).version;

test('a batch is one transaction, and a message that was handled before is skipped', async () => {
  const names = ['a1', 'a2', 'a3'];
  const batch = names.map(deliveryOf);
  const work = ({ subject }: Delivery, transaction: EventTransaction) =>
    claim(transaction, vmStream(subject), subject);
  await oneTransaction(store, 'c', batch.slice(0, 1), work);
  expect(await oneTransaction(store, 'c', batch, work)).toEqual(['skipped', 'handled', 'handled']);
  expect(await Promise.all(names.map((name) => versionOf(vmStream(name))))).toEqual([1, 1, 1]);
});

test('a handler that fails takes nothing with it, and its message counts as not handled', async () => {
  const batch = ['b1', 'b2', 'b3'].map(deliveryOf);
  const outcomes = await oneTransaction(store, 'c', batch, async ({ subject }, transaction) => {
    if (subject === 'b2') throw new Error('not this one');
    await claim(transaction, vmStream(subject), subject);
  });
  expect(outcomes).toEqual(['handled', 'alone', 'handled']);
  expect(await versionOf(vmStream('b2'))).toBe(0);
  expect((await rememberedOf(store, 'c', [derivedId('b2')])).size).toBe(0);
  expect((await rememberedOf(store, 'c', [derivedId('b3')])).size).toBe(1);
});

test('of two that want the same stream one has it, and the other is handled by itself', async () => {
  const outcomes = await oneTransaction(
    store,
    'c',
    ['c1', 'c2'].map(deliveryOf),
    ({ subject }, transaction) => claim(transaction, vmStream('c'), subject),
  );
  expect(outcomes.toSorted()).toEqual(['alone', 'handled']);
  expect(await versionOf(vmStream('c'))).toBe(1);
});

test('when a handler fails behind its append nothing of the whole batch stays', async () => {
  const whole = oneTransaction(store, 'c', ['d1', 'd2'].map(deliveryOf), async ({ subject }, transaction) => {
    await claim(transaction, vmStream(subject), subject);
    if (subject === 'd1') throw new Error('behind the append');
  });
  await expect(whole).rejects.toThrow('behind the append');
  expect(await Promise.all(['d1', 'd2'].map((name) => versionOf(vmStream(name))))).toEqual([0, 0]);
  expect((await rememberedOf(store, 'c', [derivedId('d2')])).size).toBe(0);
});

test('what one handler has appended and nobody has committed is kept from the memory of another that decides again', async () => {
  const claims = commandService<number, string, Event<'VmClaimed'>>(store, {
    initialState: 0,
    evolve: (count) => count + 1,
    decide: (_, name) => ok([claimed(name)]),
  });
  const [first, second] = [vmStream('e1'), vmStream('e2')];
  const context = (name: string) => ({
    commandId: derivedId('claim', name),
    metadata: { correlation: name, causation: name, actor: 'trigger' },
  });
  const seen: number[] = [];
  const whole = oneTransaction(store, 'c', ['e1', 'e2'].map(deliveryOf), async ({ subject }, transaction) => {
    if (subject === 'e1') {
      await claims.execute(first, 'e1', context('e1'), transaction);
      // Until the other one has decided again: then all of this is undone.
      await vi.waitUntil(() => seen.length === 2);
      throw new Error('undone');
    }
    await untilAppended(transaction, context('e2'), async () => {
      const { version: expected } = await claims.load(second, transaction);
      seen.push((await claims.load(first, transaction)).version);
      // Somebody else is faster.
      if (seen.length === 1) await claims.execute(second, 'else', context('else'));
      return ok({
        appends: [{ stream: second, expected, events: [claimed('e2')] }],
        onAppended: () => undefined,
      });
    });
  });
  await expect(whole).rejects.toThrow('undone');
  expect(seen).toEqual([0, 1]);
  expect(await claims.load(first)).toEqual({ state: 0, version: 0 });
});

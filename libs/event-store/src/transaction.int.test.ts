import type { StreamName } from '@backhaul/contracts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { EventStore } from './event-store.ts';
import { all, context, proxyIdle } from './examples.fixture.ts';
import { openTestStore, type TestStore } from './testing.ts';

let server: TestStore;
let store: EventStore;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('proxy-manager');
}, 60_000);
afterAll(() => server?.close(), 60_000);

let streams = 0;
const newStream = (): StreamName => {
  streams += 1;
  return `host-transaction${streams}`;
};
const events = [proxyIdle('p1')];

test('what is appended and noted stands or falls together', async () => {
  const stream = newStream();
  const attempt = (fail: boolean) =>
    store.transaction(async (transaction) => {
      await transaction.kysely.insertInto('inbox').values({ consumer: 'c', event_id: stream }).execute();
      await transaction.append([{ stream, expected: 'none', events: [proxyIdle('p')] }], context());
      if (fail) throw new Error('the handler fails');
    });
  const heard: number[] = [];
  const unsubscribe = store.onAppended((events) => heard.push(events.length));
  await expect(attempt(true)).rejects.toThrow('the handler fails');
  expect(await all(store.readStream(stream))).toEqual([]);
  expect(heard).toEqual([]);

  await attempt(false);
  expect(await all(store.readStream(stream))).toHaveLength(1);
  expect(heard).toEqual([1]);
  unsubscribe();
  const noted = await store.kysely.selectFrom('inbox').selectAll().where('event_id', '=', stream).execute();
  expect(noted).toHaveLength(1);
});

test('a conflict is an answer: the transaction goes on, loads again and appends', async () => {
  const stream = newStream();
  await store.append([{ stream, expected: 'none', events }], context());
  const versions = await store.transaction(async (transaction) => {
    const refused = await transaction.append([{ stream, expected: 0, events }], context());
    expect(refused.ok).toBe(false);
    await transaction.append([{ stream, expected: 1, events }], context());
    return (await all(transaction.readStream(stream))).map((event) => event.version);
  });
  expect(versions).toEqual([1, 2]);
});

test('a second append is a bug', async () => {
  const [one, two] = [newStream(), newStream()];
  const twice = store.transaction(async (transaction) => {
    for (const stream of [one, two]) {
      await transaction.append([{ stream, expected: 'any', events: [proxyIdle('p')] }], context());
    }
  });
  await expect(twice).rejects.toThrow(/appends once/);
  expect(await all(store.readStream(one))).toEqual([]);
});

test('several commands of one transaction each have an outcome of their own, in the order given', async () => {
  const [taken, free, other] = [newStream(), newStream(), newStream()];
  const first = context();
  await store.append([{ stream: taken, expected: 'none', events }], first);
  const outcomes = await store.transaction((transaction) =>
    transaction.appendEach([
      { appends: [{ stream: other, expected: 'none', events }], context: context('causes one', 'c1') },
      { appends: [{ stream: taken, expected: 0, events }], context: context() },
      {
        appends: [{ stream: free, expected: 0, events: [...events, ...events] }],
        context: context('b', 'c2'),
      },
    ]),
  );
  expect(
    outcomes.map((outcome) => (outcome.ok ? outcome.value.events.length : outcome.refusal.code)),
  ).toEqual([1, 'VersionConflict', 2]);
  expect((await all(store.readStream(free))).map(({ metadata }) => metadata.correlation)).toEqual([
    'c2',
    'c2',
  ]);
  expect(await all(store.readStream(taken))).toHaveLength(1);
});

test('pages of several streams come in the order asked, each from where it is asked from', async () => {
  const [one, two, none] = [newStream(), newStream(), newStream()];
  const three = [proxyIdle('p1'), proxyIdle('p2'), proxyIdle('p3')];
  await store.append([{ stream: one, expected: 'none', events: three }], context());
  await store.append([{ stream: two, expected: 'none', events: three }], context());
  const pages = await store.transaction((transaction) =>
    transaction.readStreamPages([
      { stream: two, after: 1 },
      { stream: none, after: 0 },
      { stream: one, after: 0 },
    ]),
  );
  const [ofTwo, ofNone, ofOne] = pages;
  expect(ofOne).toEqual(await store.readStreamPage(one));
  expect(ofTwo).toEqual(await store.readStreamPage(two, 1));
  expect(ofNone).toEqual({ events: [], version: 0, more: false });
});

test('where several messages led to one append, each event keeps its own cause', async () => {
  const stream = newStream();
  const [one, two, three] = [proxyIdle('one'), proxyIdle('two'), proxyIdle('three')];
  const causes = new Map([
    [one, { causation: 'message 1', traceparent: '00-aa-bb-01' }],
    [two, { causation: 'message\n2' }],
  ]);
  const appended = await store.append([{ stream, expected: 'none', events: [one, two, three] }], {
    commandId: stream,
    metadata: { correlation: 'c', causation: 'nothing else', traceparent: '00-cc-dd-01', actor: 'tests' },
    causeOf: (event) => causes.get(event as typeof one),
  });
  const read = await all(store.readStream(stream));
  expect(appended.ok && appended.value.events).toEqual(read);
  expect(read.map(({ metadata }) => [metadata.causation, metadata.traceparent])).toEqual([
    ['message 1', '00-aa-bb-01'],
    ['message 2', undefined],
    ['nothing else', '00-cc-dd-01'],
  ]);
});

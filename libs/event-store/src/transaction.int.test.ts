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

test('a transaction may go on with a stream that it has appended to', async () => {
  const stream = newStream();
  await store.transaction(async (transaction) => {
    for (const expected of [0, 1, 2])
      await transaction.append([{ stream, expected, events }], context(`${stream} ${expected}`));
  });
  expect((await all(store.readStream(stream))).map(({ version }) => version)).toEqual([1, 2, 3]);
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

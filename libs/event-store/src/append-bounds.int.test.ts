/** What an append refuses because no message could carry it. */
import { EVENT_DATA_BYTES_MAX } from '@backhaul/contracts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { EventStore } from './event-store.ts';
import { all, proxyIdle } from './examples.fixture.ts';
import { openTestStore, type TestStore } from './testing.ts';

let server: TestStore;
let store: EventStore;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('proxy-manager');
}, 60_000);
afterAll(() => server?.close(), 60_000);

test('an event of more than a message carries is refused by name, and of names that are too long the beginning is kept', async () => {
  const stream = 'host-bounds';
  const most = EVENT_DATA_BYTES_MAX - Buffer.byteLength(JSON.stringify(proxyIdle('').data));
  const appending = (characters: string) =>
    store.append([{ stream, expected: 'any', events: [proxyIdle(characters)] }], {
      commandId: characters,
      metadata: { correlation: 'c', causation: 'x'.repeat(2_000_000), actor: 'a' },
    });
  const fits = await appending('x'.repeat(most));
  expect(fits.ok && fits.value.events[0]?.metadata.causation).toBe('x'.repeat(1_000));
  await expect(appending('x'.repeat(most + 1))).rejects.toThrow(
    `A new ProxyIdle of stream ${stream} has ${EVENT_DATA_BYTES_MAX + 1} bytes of data`,
  );
  await expect(appending('é'.repeat(most / 2 + 1))).rejects.toThrow(/at most 921600/);
  expect(await all(store.readStream(stream))).toHaveLength(1);
});

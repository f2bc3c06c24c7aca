import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalNats, startNats } from '@backhaul/local';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Durable, durableInfo, ensureDurable, recreateDurable } from './durables.ts';
import { type Link, openLink, type Session } from './link.ts';
import { silentLog } from './log.ts';
import { ensureStreams } from './streams.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let directory: string;
let nats: LocalNats;
let link: Link;
let session: Session;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'backhaul-durables-'));
  nats = await startNats({ directory: join(directory, 'nats') });
  link = openLink({
    url: nats.url,
    name: 'a test',
    log: silentLog,
    prepare: (each) => ensureStreams(each, { replicas: 1 }),
  });
  session = await link.session();
});
afterAll(async () => {
  await link?.close();
  await nats?.stop();
  await rm(directory, { recursive: true, force: true });
});

const durable = (name: string, changes: Partial<Durable> = {}): Durable => ({
  stream: 'EVENTS',
  name,
  filter: 'evt.a.b.*.C',
  ackPendingMax: 256,
  ackWaitMilliseconds: 10_000,
  ...changes,
});

test('a consumer made anew goes on behind what was acknowledged', async () => {
  for (let index = 0; index < 5; index += 1)
    await session.jetstream.publish(`evt.a.b.${index}.C`, String(index));
  await ensureDurable(session, durable('again'));
  const before = await session.jetstream.consumers.get('EVENTS', 'again');
  for await (const message of await before.fetch({ max_messages: 3, expires: 5_000 })) {
    // Taken and not acknowledged is not handled: it comes again, from the new one.
    if (message.string() !== '2') await message.ackAck();
  }
  await recreateDurable(session, durable('again'));
  const after = await session.jetstream.consumers.get('EVENTS', 'again');
  const seen: string[] = [];
  for await (const message of await after.fetch({ max_messages: 3, expires: 5_000 }))
    seen.push(message.string());
  expect(seen).toEqual(['2', '3', '4']);
  await ensureDurable(session, durable('again'));
});

test('a release that wants other limits adjusts the consumer that stands', async () => {
  await ensureDurable(session, durable('adjusted'));
  await ensureDurable(session, durable('adjusted', { ackPendingMax: 8, ackWaitMilliseconds: 5_000 }));
  const info = await durableInfo(session, durable('adjusted'));
  expect(info?.config).toMatchObject({ max_ack_pending: 8, ack_wait: 5_000_000_000 });
});

test('a consumer that listens to something else is refused, naming both', async () => {
  await ensureDurable(session, durable('other'));
  await expect(ensureDurable(session, durable('other', { filter: 'evt.a.b.*.D' }))).rejects.toThrowError(
    'The JetStream consumer other is not configured as Backhaul needs it: filter_subject should be "evt.a.b.*.D" and is "evt.a.b.*.C"',
  );
});

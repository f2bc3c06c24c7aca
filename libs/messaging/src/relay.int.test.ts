import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { streamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { derivedId, eventually } from '@backhaul/kernel';
import { startNats } from '@backhaul/local';
import { connect } from 'nats';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { silentLog } from './log.ts';
import { claimed, refusedOf, vmStream } from './test-events.fixture.ts';
import { openTestMessaging, type TestMessaging } from './testing.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
beforeAll(async () => {
  servers = await openTestMessaging();
});
afterEach(() => servers.disconnect());
afterAll(() => servers.close());

/** The positions on the stream EVENTS, in its order. */
async function published(url = servers.nats.url): Promise<number[]> {
  const own = await connect({ servers: url, reconnect: false });
  try {
    const manager = await own.jetstreamManager();
    const { state } = await manager.streams.info('EVENTS');
    if (state.messages === 0) return [];
    const consumer = await own.jetstream().consumers.get('EVENTS');
    const positions: number[] = [];
    for await (const message of await consumer.fetch({ max_messages: state.messages, expires: 5_000 })) {
      positions.push(Number(message.headers?.get('x-position')));
    }
    return positions;
  } finally {
    await own.close();
  }
}

const logged = async (store: EventStore): Promise<number[]> =>
  (await store.readLog(0, { categories: ['vm', 'backup'], limit: 10_000 })).events.map(
    (event) => event.position,
  );

const isPublished = (store: EventStore, url?: string): Promise<number[]> =>
  eventually('everything appended to be published', 20_000, async () => {
    const [have, want] = await Promise.all([published(url).catch(() => []), logged(store)]);
    return new Set(have).size === want.length ? have : undefined;
  });

test('what is appended is published in the order of the log, and a restart publishes nothing twice', async () => {
  const first = await servers.connect('trigger');
  for (let index = 0; index < 50; index += 1) await first.append(vmStream(`a${index % 3}`), claimed(index));
  await isPublished(first.store);
  await first.messaging.close();

  const second = await servers.connect('trigger');
  await second.append(vmStream('a0'), claimed('after the restart'));
  expect(await isPublished(second.store)).toEqual(await logged(second.store));
  expect(second.occurrences.filter(({ kind }) => kind === 'published')).toHaveLength(1);
  await second.messaging.close();
});

test('of two instances one publishes; when it is gone the other goes on', async () => {
  const instances = [await servers.connect('trigger'), await servers.connect('trigger')] as const;
  for (let index = 0; index < 20; index += 1)
    await instances[index % 2 === 0 ? 0 : 1].append(vmStream('b'), claimed(index));
  expect(await isPublished(instances[0].store)).toEqual(await logged(instances[0].store));
  const counts = instances.map(({ occurrences }) => occurrences.length);
  expect(counts.toSorted((a, b) => a - b)).toEqual([0, 20]);

  const [leader, heir] = counts[0] === 20 ? instances : [instances[1], instances[0]];
  await leader.messaging.close();
  await heir.append(vmStream('b'), claimed('of the heir'));
  expect(await isPublished(heir.store)).toEqual(await logged(heir.store));
  await heir.messaging.close();
});

test('a NATS that is killed in the middle of publishing loses nothing', async () => {
  const service = await servers.connect('trigger');
  const writing = (async () => {
    for (let index = 0; index < 150; index += 1)
      await service.append(
        vmStream('c'),
        ...Array.from({ length: 20 }, (_, of) => claimed(`${index}.${of}`)),
      );
  })();
  for (let kills = 0; kills < 3; kills += 1) {
    const before = service.occurrences.length;
    await eventually(
      'some more to be published',
      20_000,
      () => service.occurrences.length > before + 100 || undefined,
    );
    await servers.nats.kill();
    await servers.nats.restart();
  }
  await writing;
  const positions = await isPublished(service.store);
  expect([...new Set(positions)].toSorted((a, b) => a - b)).toEqual(await logged(service.store));
  await service.messaging.close();
});

test('a NATS that was wiped is filled again from the log, also while the service runs', async () => {
  const service = await servers.connect('trigger');
  await isPublished(service.store);
  await servers.nats.kill();
  await servers.nats.wipe();
  await servers.nats.restart();
  await service.append(vmStream('d'), claimed('after the wipe'));
  expect(await isPublished(service.store)).toEqual(await logged(service.store));
  await service.messaging.close();
});

test('a refill that is asked for publishes everything again', async () => {
  const service = await servers.connect('trigger');
  await isPublished(service.store);
  const total = (await logged(service.store)).length;
  await service.messaging.refill();
  await eventually(
    'everything to be published again',
    20_000,
    () => service.occurrences.length >= total || undefined,
  );
  await service.messaging.close();
});

test('with NATS away at the start a service waits, says so, and publishes when it comes', async () => {
  await servers.nats.kill();
  let service: Awaited<ReturnType<TestMessaging['connect']>>;
  try {
    service = await servers.connect('trigger');
    await service.append(vmStream('e'), claimed('while NATS is away'));
    const away = await eventually('health to name what is missing', 5_000, async () => {
      const health = await service.messaging.health();
      return health.nats.detail.includes('cannot be reached') ? health : undefined;
    });
    expect(away.nats.ok).toBe(false);
  } finally {
    await servers.nats.restart();
  }
  await isPublished(service.store);
  expect(await service.messaging.health()).toMatchObject({ nats: { ok: true }, relay: { ok: true } });
  await service.messaging.close();
});

test('an event that NATS does not carry is named with the way out, and all go on when that was taken', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'backhaul-small-'));
  const nats = await startNats({ directory: join(directory, 'nats'), maxPayloadBytes: 64 * 1024 });
  const errors: string[] = [];
  const log = { ...silentLog, error: (_: object, message: string) => void errors.push(message) };
  try {
    const service = await servers.connect('trigger', { url: nats.url, log });
    await isPublished(service.store, nats.url);
    const before = (await published(nats.url)).length;
    await service.append(vmStream('g'), claimed('before it'));
    await service.append(streamName('backup', derivedId('backup', 'large')), refusedOf(70_000));
    await service.append(vmStream('g'), claimed('behind it'));
    const stuck = await eventually('health to name it', 20_000, async () => {
      const { relay } = await service.messaging.health();
      return relay.ok ? undefined : relay.detail;
    });
    const position = (await logged(service.store)).at(-1) ?? 0;
    const [, behind, at, type, stream] =
      /^at position (\d+), .*Event (\d+) \((\w+) of stream (\S+)\) is a message of 7\d{4} bytes.* max_payload of/.exec(
        stuck,
      ) ?? [];
    expect([type, stream, at]).toEqual([
      'BackupRefused',
      `backup-${derivedId('backup', 'large')}`,
      String(position - 1),
    ]);
    // What is before it is kept as published, so that it is not sent again at every try.
    expect(Number(behind)).toBe(position - 2);
    expect(errors).toContain('relay is stuck at an event that NATS does not carry');
    expect(await published(nats.url)).toHaveLength(before + 1);

    await nats.kill();
    await nats.restart({ maxPayloadBytes: 1024 * 1024 });
    await eventually('the rest to be published', 30_000, async () =>
      (await published(nats.url)).length === before + 3 ? true : undefined,
    );
    await eventually('health to be well', 10_000, async () =>
      (await service.messaging.health()).relay.ok ? true : undefined,
    );
    await service.messaging.close();
  } finally {
    await nats.stop();
    await rm(directory, { recursive: true, force: true });
  }
});

test('a NATS that comes back from an older copy of itself is filled again', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'backhaul-copy-'));
  const [data, copy] = [join(directory, 'nats'), join(directory, 'copy')];
  const nats = await startNats({ directory: data });
  try {
    const first = await servers.connect('trigger', { url: nats.url });
    await first.append(vmStream('f'), claimed('in the copy'));
    await isPublished(first.store, nats.url);
    await nats.kill();
    await cp(data, copy, { recursive: true });
    await nats.restart();
    await first.append(vmStream('f'), claimed('only in the log'), claimed('so is this'));
    await isPublished(first.store, nats.url);
    await first.messaging.close();

    await nats.kill();
    await nats.wipe();
    await cp(copy, data, { recursive: true });
    await nats.restart();
    expect(await published(nats.url)).not.toEqual(await logged(first.store));
    const second = await servers.connect('trigger', { url: nats.url });
    await isPublished(second.store, nats.url);
    await second.messaging.close();
  } finally {
    await nats.stop();
    await rm(directory, { recursive: true, force: true });
  }
});

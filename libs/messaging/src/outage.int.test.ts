import { eventually, Fault } from '@backhaul/kernel';
import { connect, type NatsConnection, StorageType } from 'nats';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { claimed, vmStream } from './test-events.fixture.ts';
import { openTestMessaging, type TestMessaging, type TestService } from './testing.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
let planner: TestService;
beforeAll(async () => {
  servers = await openTestMessaging();
  trigger = await servers.connect('trigger');
  planner = await servers.connect('planner', { silentMilliseconds: 2_000 });
});
afterAll(() => servers.close());

async function asOperator<T>(act: (connection: NatsConnection) => Promise<T>): Promise<T> {
  const connection = await connect({ servers: servers.nats.url });
  try {
    return await act(connection);
  } finally {
    await connection.close();
  }
}

test('consumers go on by themselves after NATS was killed, and after it was wiped, and nothing runs twice', async () => {
  const runs = new Map<string, number>();
  const count = (kind: string, event: { eventId: string }): void => {
    const key = `${kind} ${event.eventId}`;
    runs.set(key, (runs.get(key) ?? 0) + 1);
  };
  await planner.messaging.consume({
    purpose: 'outage',
    types: ['VmClaimed'],
    handle: async (event) => count('consume', event),
  });
  await planner.messaging.consumeWork({
    purpose: 'outage-work',
    types: ['VmClaimed'],
    concurrency: 4,
    handle: async (event) => count('work', event),
  });
  let appended = 0;
  const settled = (): Promise<boolean> =>
    eventually('every event to be handled', 30_000, () => runs.size === 2 * appended || undefined);
  const append = async (): Promise<void> => {
    for (let index = 0; index < 30; index += 1)
      await trigger.append(vmStream(`o${index % 4}`), claimed(`${appended++}`));
  };
  await append();
  await settled();
  await servers.nats.kill();
  await append();
  await servers.nats.restart();
  await settled();
  await servers.nats.kill();
  await servers.nats.wipe();
  await servers.nats.restart();
  await append();
  await settled();
  // The old events came a second time; wait until they were all looked at before judging that none ran twice.
  const skipped = (): number => planner.occurrences.filter(({ kind }) => kind === 'skipped').length;
  await eventually('the old events to be skipped', 20_000, () => skipped() >= 2 * 60 || undefined);
  expect(new Set(runs.values())).toEqual(new Set([1]));
  await planner.messaging.stopConsuming();
});

test('a consumer that somebody deletes is made again', async () => {
  const seen: string[] = [];
  const consumption = await planner.messaging.consume({
    purpose: 'deleted',
    types: ['VmClaimed'],
    handle: async (event) => void seen.push(event.eventId),
  });
  await eventually('the events so far', 20_000, () => seen.length || undefined);
  await asOperator(async (connection) => {
    await (await connection.jetstreamManager()).consumers.delete('EVENTS', 'planner__deleted__VmClaimed');
  });
  const before = seen.length;
  await trigger.append(vmStream('deleted'), claimed('after the deletion'));
  await eventually('the new event', 20_000, () => (seen.length > before ? true : undefined));
  expect(new Set(seen).size).toBe(seen.length);
  await consumption.stop();
});

test('a stream that is configured otherwise is refused, naming the field, what is wanted and what is found', async () => {
  await servers.nats.kill();
  await servers.nats.wipe();
  await servers.nats.restart();
  // Whoever is quicker makes the stream; this one must be.
  await Promise.all([trigger.messaging.close(), planner.messaging.close()]);
  await servers.nats.kill();
  await servers.nats.wipe();
  await servers.nats.restart();
  await asOperator(async (connection) => {
    const manager = await connection.jetstreamManager();
    await manager.streams.add({ name: 'EVENTS', subjects: ['evt.>'], storage: StorageType.Memory });
  });
  const ingest = await servers.connect('ingest');
  const starting = ingest.messaging.consume({
    purpose: 'strict',
    types: ['VmClaimed'],
    handle: async () => undefined,
  });
  await expect(starting).rejects.toThrowError(
    expect.objectContaining({
      permanent: true,
      message: expect.stringMatching(
        /stream EVENTS is not configured .*storage should be "file" and is "memory"/,
      ),
    }),
  );
  const { nats } = await ingest.messaging.health();
  expect(nats).toMatchObject({ ok: false, detail: expect.stringContaining('storage should be "file"') });
});

test('a wait for NATS ends when messaging is closed', async () => {
  await servers.nats.kill();
  const ingest = await servers.connect('ingest');
  const starting = ingest.messaging.consume({
    purpose: 'never',
    types: ['VmClaimed'],
    handle: async () => undefined,
  });
  const refused = expect(starting).rejects.toBeInstanceOf(Fault);
  await ingest.messaging.close();
  await refused;
});

/** Processes of this release beside those of a newer one, which has stored what they do not know. */
import { isDeepStrictEqual } from 'node:util';
import { catalogue } from '@backhaul/contracts';
import { appendAsNewerRelease, type NewerEvent } from '@backhaul/event-store/testing';
import { eventually } from '@backhaul/kernel';
import { sql } from 'kysely';
import { connect } from 'nats';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { claimed, vmStream } from './test-events.fixture.ts';
import { openTestMessaging, type TestMessaging } from './testing.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
beforeAll(async () => {
  servers = await openTestMessaging();
});
afterEach(() => servers.disconnect());
afterAll(() => servers.close());

/** What was published behind a position. */
async function published(
  after: number,
): Promise<{ subject: string; position: number; version: string; data: unknown }[]> {
  const own = await connect({ servers: servers.nats.url, reconnect: false });
  try {
    const { state } = await (await own.jetstreamManager()).streams.info('EVENTS');
    if (state.messages === 0) return [];
    const consumer = await own.jetstream().consumers.get('EVENTS');
    const found = [];
    for await (const message of await consumer.fetch({ max_messages: state.messages, expires: 5_000 })) {
      const position = Number(message.headers?.get('x-position'));
      const version = message.headers?.get('x-schema-version') ?? '';
      if (position > after) found.push({ subject: message.subject, position, version, data: message.json() });
    }
    return found;
  } finally {
    await own.close();
  }
}

const newerClaim = (vm: string): NewerEvent => ({
  stream: vmStream(vm),
  type: 'VmClaimed',
  schemaVersion: catalogue.VmClaimed.schemaVersion + 1,
  data: { ...claimed(vm).data, lane: 'fast' },
});

test('a relay publishes what it does not know as it is stored, in its place: a type, a version, a category', async () => {
  const admin = new pg.Client({ connectionString: servers.postgres.adminUrl });
  await admin.connect();
  await admin.query(
    `insert into public.owners select 'vmGroup', role from public.owners where category = 'vm'`,
  );
  await admin.end();
  const { append, store } = await servers.connect('trigger');
  const { next: before } = await store.readOwnLog(0);
  await append(vmStream('a'), claimed('before'));
  const url = servers.postgres.urlOf('trigger');
  const newer = [
    { stream: vmStream('a'), type: 'VmTeleported', schemaVersion: 1, data: { to: 'Mars' } },
    newerClaim('a'),
    { stream: 'vmGroup-g', type: 'VmGrouped', schemaVersion: 1, data: {} },
  ];
  for (const event of newer) await appendAsNewerRelease(url, event);
  await append(vmStream('a'), claimed('after'));
  const { next: last } = await store.readOwnLog(0);

  const found = await eventually('the last one to be published', 20_000, async () => {
    const all = await published(before);
    return all.at(-1)?.position === last ? all : undefined;
  });
  expect(found.map(({ subject, version, data }) => [subject, version, data])).toEqual([
    ['evt.trigger.vm.h1=2Ea.VmClaimed', '2', claimed('before').data],
    ['evt.trigger.vm.h1=2Ea.VmTeleported', '1', { to: 'Mars' }],
    ['evt.trigger.vm.h1=2Ea.VmClaimed', '3', newerClaim('a').data],
    ['evt.trigger.vmGroup.g.VmGrouped', '1', {}],
    ['evt.trigger.vm.h1=2Ea.VmClaimed', '2', claimed('after').data],
  ]);
});

test.each([1, 8])(
  'a consumer leaves what it does not know to a newer release, however long that takes (concurrency %i)',
  async (concurrency) => {
    const retry = { attemptsMax: 3, firstDelayMilliseconds: 10, delayMillisecondsMax: 50 };
    const planner = await servers.connect('planner', { retry });
    const handled: unknown[] = [];
    const purpose = `claims-${concurrency}`;
    await planner.messaging.consume({
      ...{ purpose, types: ['VmClaimed'], concurrency },
      async handle({ data }) {
        if (data.vmId === 'web-1') handled.push(data);
      },
    });
    const trigger = await servers.connect('trigger');
    const vm = `b${concurrency}`;
    await appendAsNewerRelease(servers.postgres.urlOf('trigger'), newerClaim(vm));
    await trigger.append(vmStream(vm), claimed(`behind ${vm}`));
    const failures = () => planner.occurrences.filter(({ kind }) => kind === 'failed').length;
    await eventually(
      'more tries than a message of its own fault has',
      20_000,
      () => failures() > 30 || undefined,
    );
    await eventually(
      'the one behind it',
      20_000,
      () => handled.some((data) => isDeepStrictEqual(data, claimed(`behind ${vm}`).data)) || undefined,
    );
    expect(handled).not.toContainEqual(claimed(vm).data);

    const known = catalogue.VmClaimed;
    onTestFinished(() => void Object.assign(catalogue, { VmClaimed: known }));
    // This process becomes one of the newer release.
    Object.assign(catalogue, {
      VmClaimed: { ...known, schemaVersion: known.schemaVersion + 1, data: known.data.loose() },
    });
    await eventually(
      'the newer one to be handled',
      20_000,
      () => handled.some((data) => isDeepStrictEqual(data, newerClaim(vm).data)) || undefined,
    );
    const { rows } = await sql`select from public.dead_letters`.execute(planner.store.kysely);
    expect(rows).toEqual([]);
  },
);

test('a command on a stream that a newer release has moved on is not decided here', async () => {
  const { store } = await servers.connect('trigger');
  await appendAsNewerRelease(servers.postgres.urlOf('trigger'), newerClaim('c'));
  await expect(store.readStreamPage(vmStream('c'))).rejects.toMatchObject({
    code: 'NewerRelease',
    permanent: false,
    message: expect.stringMatching(/VmClaimed.* version 3.* 2/),
  });
});

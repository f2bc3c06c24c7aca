import { RequestId } from '@backhaul/contracts';
import { eventually, Fault } from '@backhaul/kernel';
import { sql } from 'kysely';
import { connect } from 'nats';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { connectRequester } from './requester.ts';
import { openTestMessaging, type TestMessaging, type TestService } from './testing.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
const received: { name: string; messageId: string }[] = [];

beforeAll(async () => {
  servers = await openTestMessaging();
  trigger = await servers.connect('trigger');
  await trigger.messaging.consumeRequests({
    async handle({ name, body, messageId }) {
      received.push({ name, messageId });
      const { requestId } = JSON.parse(Buffer.from(body).toString());
      if (requestId === 'doomed')
        throw new Fault('no such policy', { permanent: true, code: 'NoSuchPolicy' });
      return { requestId: RequestId.parse(requestId), outcome: 'accepted' };
    },
  });
});
afterAll(() => servers.close());

test('an upstream system sends a request and hears the answer', async () => {
  const upstream = connectRequester({ url: servers.nats.url, name: 'a test' });
  try {
    const { answer } = upstream.awaitAnswer('r1', 10_000);
    await upstream.request('BackupRequested', { requestId: 'r1' }, 'm1');
    expect(await answer).toEqual({ requestId: 'r1', outcome: 'accepted' });
    expect(received).toContainEqual({ name: 'BackupRequested', messageId: 'm1' });
    expect(await upstream.awaitAnswer('nobody', 100).answer).toBeUndefined();
  } finally {
    await upstream.close();
  }
});

test('the same message sent twice is received once', async () => {
  await trigger.messaging.request('BackupRequested', { requestId: 'r2' }, 'twice');
  await trigger.messaging.request('BackupRequested', { requestId: 'r2' }, 'twice');
  await trigger.messaging.request('BackupRequested', { requestId: 'r3' }, 'behind it');
  await eventually(
    'the one behind',
    10_000,
    () => received.some(({ messageId }) => messageId === 'behind it') || undefined,
  );
  expect(received.filter(({ messageId }) => messageId === 'twice')).toHaveLength(1);
});

test('a request without an id is one by where it stands, and one that ends as a dead letter is refused with the reason', async () => {
  const connection = await connect({ servers: servers.nats.url });
  const { answer } = trigger.messaging.awaitAnswer('doomed', 10_000);
  await connection.jetstream().publish('req.trigger.Anything', JSON.stringify({ requestId: 'doomed' }));
  await connection.close();
  expect(await answer).toMatchObject({
    outcome: 'refused',
    refusal: { code: 'NoSuchPolicy', message: 'no such policy' },
  });
  expect(received).toContainEqual({
    name: 'Anything',
    messageId: expect.stringMatching(/^REQUESTS@\d{4}-.*#\d+$/),
  });
  const { rows } = await sql`select reason, subject, event_id from public.dead_letters`.execute(
    trigger.store.kysely,
  );
  expect(rows).toEqual([{ reason: 'no such policy', subject: 'req.trigger.Anything', event_id: null }]);
});

test('a request that meets a NATS that is away is stored when it comes back', async () => {
  await servers.nats.kill();
  const sent = trigger.messaging.request('BackupRequested', { requestId: 'r4' }, 'patient');
  await servers.nats.restart();
  await sent;
  await eventually(
    'the request',
    20_000,
    () => received.some(({ messageId }) => messageId === 'patient') || undefined,
  );
});

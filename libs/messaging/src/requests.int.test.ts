import { randomUUID } from 'node:crypto';
import { RequestId } from '@backhaul/contracts';
import { eventually, Fault } from '@backhaul/kernel';
import { sql } from 'kysely';
import { connect, headers } from 'nats';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { connectRequester } from './requester.ts';
import { claimed, vmStream } from './test-events.fixture.ts';
import { openTestMessaging, type TestMessaging, type TestService } from './testing.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
const received: { name: string; messageId: string }[] = [];

beforeAll(async () => {
  servers = await openTestMessaging();
  trigger = await servers.connect('trigger');
  await trigger.messaging.consumeRequests({
    async handle({ name, body, messageId }, transaction) {
      received.push({ name, messageId });
      const { requestId, claims } = JSON.parse(Buffer.from(body).toString());
      if (requestId === 'doomed')
        throw new Fault('no such policy', { permanent: true, code: 'NoSuchPolicy' });
      // A command of its own each time: only the inbox keeps this from taking effect twice.
      if (claims !== undefined)
        await transaction.append([{ stream: vmStream(claims), expected: 'any', events: [claimed(claims)] }], {
          commandId: randomUUID(),
          metadata: { correlation: claims, causation: messageId, actor: 'trigger' },
        });
      return [{ requestId: RequestId.parse(requestId), outcome: 'accepted' }];
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

/** Five minutes and more after the first of this message id: JetStream has forgotten it, the inbox has not. */
async function sendLater(body: { requestId: string; [field: string]: unknown }, messageId: string) {
  const { answer } = trigger.messaging.awaitAnswer(body.requestId, 10_000);
  const connection = await connect({ servers: servers.nats.url });
  const carried = headers();
  carried.set('x-original-id', messageId);
  await connection
    .jetstream()
    .publish('req.trigger.BackupRequested', JSON.stringify(body), { headers: carried });
  await connection.close();
  return await answer;
}

test('a request that comes again when it was handled is answered again, and takes effect once', async () => {
  const body = { requestId: 'again', claims: 'again' };
  const answers = [await sendLater(body, 'again'), await sendLater(body, 'again')];
  expect(answers).toEqual(Array(2).fill({ requestId: 'again', outcome: 'accepted' }));
  expect((await trigger.store.readStreamPage(vmStream('again'))).version).toBe(1);
});

test('several that come again at once, among new ones, are answered all', async () => {
  const bodies = ['s1', 's2', 's3'].map((requestId) => ({ requestId, claims: requestId }));
  await Promise.all(bodies.slice(1).map((body) => sendLater(body, body.requestId)));
  const answers = await Promise.all(bodies.map((body) => sendLater(body, body.requestId)));
  expect(answers).toMatchObject(Array(3).fill({ outcome: 'accepted' }));
  for (const { claims } of bodies)
    expect((await trigger.store.readStreamPage(vmStream(claims))).version).toBe(1);
});

test('one that became a dead letter and comes again is refused again, and is no other letter', async () => {
  const refused = { outcome: 'refused', refusal: { code: 'NoSuchPolicy' } };
  expect(await sendLater({ requestId: 'doomed', note: 'again' }, 'hopeless')).toMatchObject(refused);
  expect(await sendLater({ requestId: 'doomed', note: 'again' }, 'hopeless')).toMatchObject(refused);
  const { rows } = await sql`select from public.dead_letters where message_id = 'hopeless'`.execute(
    trigger.store.kysely,
  );
  expect(rows).toHaveLength(1);
});

test('another request under the message id of one that was handled is another', async () => {
  await sendLater({ requestId: 'shared', claims: 'shared-1' }, 'shared');
  await sendLater({ requestId: 'shared', claims: 'shared-2' }, 'shared');
  for (const stream of ['shared-1', 'shared-2'])
    expect((await trigger.store.readStreamPage(vmStream(stream))).version).toBe(1);
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

/** Requests of any size are answered in few words, and leave no event that NATS does not carry. */
import { eventually } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { backupIdOf } from './core/requests.fixture.ts';
import { askOverNats, callOverHttp, startTrigger } from './trigger.fixture.ts';

let servers: TestMessaging;
let service: TestService;
let http: FastifyInstance;
beforeAll(async () => {
  servers = await openTestMessaging();
  ({ service, http } = await startTrigger(servers));
}, 60_000);
afterAll(async () => {
  await http?.close();
  await servers?.close();
}, 60_000);

test('a request with 30,000 wrong disks is refused in few words, either way it comes, and the trigger goes on publishing', async () => {
  const wish = { backup: backupIdOf('any'), host: 'lab', vm: 'huge' };
  const wrong = (length: number) => ({ ...wish, disks: Array.from({ length }, () => '!') });
  const told = await askOverNats(service, 'RecoveryRequested', { requestId: 'huge-nats', ...wrong(30_000) });
  expect(told).toMatchObject({ outcome: 'refused', refusal: { code: 'InvalidRequest' } });
  expect(told?.refusal?.message.length).toBeLessThan(2_500);

  const overHttp = (body: object, key: string) =>
    callOverHttp(http, 'POST', '/api/v1/recoveries', body, { 'idempotency-key': key });
  expect(await overHttp(wrong(30_000), 'huge-1')).toMatchObject({ statusCode: 413 });
  for (const [key, disks] of [['huge-2', 12_000] as const, ['huge-3', 999] as const]) {
    const reply = await overHttp(wrong(disks), key);
    expect(reply.json()).toMatchObject({ status: 422, code: 'InvalidRequest', requestId: key });
    expect(reply.body.length).toBeLessThan(6_000);
  }
  // JetStream carries headers of 64 KiB; an id from outside becomes the cause of events, travels with them, and is longer then.
  const long = { requestId: 'long', host: 'lab', vm: 'long' };
  await askOverNats(service, 'BackupRequested', long, `long-${'é'.repeat(25_000)}`);
  await askOverNats(service, 'BackupRequested', { requestId: 'behind', host: 'lab', vm: 'behind' });
  await eventually('all of it to be published', 15_000, async () => {
    const { relay } = await service.messaging.health();
    return (relay.ok && relay.behindMilliseconds === 0) || undefined;
  });
}, 60_000);

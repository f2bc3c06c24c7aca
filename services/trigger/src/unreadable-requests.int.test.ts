/** What cannot be understood, over NATS and over HTTP, on a real log and a real NATS: answered, and kept where it belongs. */
import type { Recorded } from '@backhaul/contracts';
import { eventually } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { askOverNats, callOverHttp, startTrigger } from './trigger.fixture.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
let http: FastifyInstance;

beforeAll(async () => {
  servers = await openTestMessaging();
  ({ service: trigger, http } = await startTrigger(servers));
});
afterAll(async () => {
  await http?.close();
  await servers?.close();
});

const deadLetters = async (): Promise<string[]> => {
  const { rows } = await sql<{ message_id: string }>`select message_id from public.dead_letters`.execute(
    trigger.store.kysely,
  );
  return rows.map(({ message_id }) => message_id);
};
const everything = async (): Promise<readonly Recorded[]> => (await trigger.store.readLog(0)).events;

test('a run asked for over NATS is kept as it came, as a refused run and as a dead letter, and answered', async () => {
  const answer = await askOverNats(trigger, 'BackupRequested', { requestId: 'bad-run', vm: 'x y' });
  expect(answer).toMatchObject({
    requestId: 'bad-run',
    outcome: 'refused',
    refusal: { code: 'InvalidRequest', message: expect.stringContaining('host') },
  });
  await eventually('the dead letter', 15_000, async () =>
    (await deadLetters()).length === 1 ? true : undefined,
  );
  const [refused, ...others] = await everything();
  expect(others).toEqual([]);
  expect(refused).toMatchObject({
    type: 'BackupRefused',
    data: { origin: { requestId: 'bad-run' }, refusal: { code: 'InvalidRequest' } },
  });
  expect(JSON.parse((refused as Recorded<'BackupRefused'>).data.request)).toEqual({
    requestId: 'bad-run',
    vm: 'x y',
  });
  // The id stays free for the request as it should have been.
  const mended = { requestId: 'bad-run', host: 'lab', vm: 'mended' };
  expect(await askOverNats(trigger, 'BackupRequested', mended)).toMatchObject({
    outcome: 'accepted',
  });
});

test('settings, orders and what nobody knows are no refused backups: the dead letter is what is kept', async () => {
  const before = [await everything(), await deadLetters()];
  const policy = { requestId: 'bad-policy', policy: { nonsense: 1 } };
  expect(await askOverNats(trigger, 'PolicyRequested', policy)).toMatchObject({
    outcome: 'refused',
    refusal: { code: 'InvalidRequest', message: expect.stringContaining('nonsense') },
  });
  await askOverNats(trigger, 'BackupPauseRequested', { requestId: 'bad-order', backupId: 'none' });
  await trigger.messaging.request('EverythingDeleted' as never, { requestId: 'unknown' }, 'unknown');
  await eventually('three dead letters more', 15_000, async () =>
    (await deadLetters()).length === (before[1]?.length ?? 0) + 3 ? true : undefined,
  );
  expect(await everything()).toEqual(before[0]);
});

test('over HTTP it is a problem document, whatever is wrong with it, and nothing is kept', async () => {
  const before = [await everything(), await deadLetters()];
  const post = (body: unknown, headers: Record<string, string> = {}) =>
    callOverHttp(http, 'POST', '/api/v1/backups', body, headers);
  expect(await post('{"host":')).toMatchObject({ statusCode: 400 });
  const lacking = await post({ host: 'lab' }, { 'idempotency-key': 'lacking' });
  expect(lacking.json()).toMatchObject({ status: 422, code: 'InvalidRequest', requestId: 'lacking' });
  expect(await post({ host: 'lab', vm: 'v' }, { 'idempotency-key': 'no dots.please' })).toMatchObject({
    statusCode: 422,
  });
  expect(await post('x'.repeat(70_000))).toMatchObject({ statusCode: 413 });
  expect(await post('host=lab', { 'content-type': 'text/plain' })).toMatchObject({ statusCode: 415 });
  const put = (path: string) => callOverHttp(http, 'PUT', `/api/v1/${path}`, { nonsense: 1 });
  for (const path of ['policies/nightly', 'schedules/nightly'])
    expect((await put(path)).json()).toMatchObject({
      status: 422,
      detail: expect.stringContaining('nonsense'),
    });
  expect((await callOverHttp(http, 'POST', '/api/v1/recoveries', { backup: 'b' })).statusCode).toBe(422);
  const lost = await http.inject({ method: 'GET', url: '/api/v1/nowhere' });
  expect(lost.json()).toMatchObject({ status: 404, code: 'NoSuchRoute' });
  expect([await everything(), await deadLetters()]).toEqual(before);
});

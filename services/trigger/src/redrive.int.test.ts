/** From the wish of an operator to the message that is handled after all: real log, real NATS, a planner that had given it up. */
import type { Recorded } from '@backhaul/contracts';
import { eventually, Fault } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { backupIdOf } from './core/requests.fixture.ts';
import { callOverHttp, startTrigger } from './trigger.fixture.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
let planner: TestService;
let http: FastifyInstance;
let hostConfigured = false;
const planned: string[] = [];

beforeAll(async () => {
  servers = await openTestMessaging();
  planner = await servers.connect('planner');
  ({ service: trigger, http } = await startTrigger(servers));
  await planner.messaging.consume({
    purpose: 'plan',
    types: ['BackupTriggered'],
    async handle({ data }) {
      if (!hostConfigured) throw new Fault(`Host ${data.hostId} is not configured`, { permanent: true });
      planned.push(data.backupId);
    },
  });
});
afterAll(async () => {
  await http?.close();
  await servers?.close();
});

async function ask(name: 'BackupRequested' | 'RedriveRequested', body: { requestId: string }, times = 1) {
  const { answer } = trigger.messaging.awaitAnswer(body.requestId, 15_000);
  for (let time = 1; time <= times; time += 1)
    await trigger.messaging.request(name, body, `${body.requestId}-${time}`);
  return await answer;
}

const post = async (letter: string, key: string, body: object = {}) => {
  const url = `/api/v1/dead-letters/${letter}/redrive`;
  const response = await callOverHttp(http, 'POST', url, body, { 'idempotency-key': key });
  return { status: response.statusCode, body: response.json() };
};

const redrives = async (): Promise<readonly Recorded[]> =>
  (await trigger.store.readLog(0, { types: ['DeadLetterRedriven'] })).events;

/** A backup that the planner gives up: its id and its dead letter. */
async function givenUp(requestId: string): Promise<{ backupId: string; letter: string }> {
  const backupId = backupIdOf(requestId);
  hostConfigured = false;
  expect(await ask('BackupRequested', { requestId, host: 'lab', vm: requestId } as never)).toMatchObject({
    outcome: 'accepted',
  });
  const letter = await eventually('the dead letter', 10_000, async () => {
    const { rows } = await sql<{ id: string }>`
      select id::text from public.dead_letters
      where consumer = 'planner__plan' and headers ->> 'x-correlation' = ${backupId}`.execute(
      trigger.store.kysely,
    );
    return rows[0]?.id;
  });
  hostConfigured = true;
  return { backupId, letter };
}

test('a letter whose reason was mended is sent again and handled, however often the request comes', async () => {
  const { backupId, letter } = await givenUp('mended');
  const body = { requestId: 'redrive-1', letter, reason: 'lab is configured now', requestedBy: 'ann' };
  expect(await ask('RedriveRequested', body, 3)).toEqual({ requestId: 'redrive-1', outcome: 'accepted' });
  const { letter: _, requestId: key, ...rest } = body;
  expect(await post(letter, key, rest)).toMatchObject({ status: 200, body: { outcome: 'accepted' } });
  await eventually('the plan', 10_000, () => planned.includes(backupId) || undefined);

  expect(await post(letter, 'redrive-2')).toMatchObject({
    status: 409,
    body: { code: 'AlreadyRedriven', detail: expect.stringMatching(/by ann: lab is configured now/) },
  });
  const [redriven, ...more] = await redrives();
  expect(more).toEqual([]);
  // It belongs to the story of the backup, and says everything that is needed to understand it there.
  expect(redriven).toMatchObject({
    stream: `deadLetter-${(redriven as Recorded<'DeadLetterRedriven'>).data.messageId}`,
    metadata: { correlation: backupId, actor: 'ann' },
    data: {
      deadLetterId: letter,
      consumer: 'planner__plan',
      failure: 'Host lab is not configured',
      requestId: 'redrive-1',
      reason: 'lab is configured now',
      requestedBy: 'ann',
    },
  });
  expect(planned.filter((id) => id === backupId)).toHaveLength(1);
});

test('a letter that is not there is refused by its number, over NATS and over HTTP', async () => {
  const refusal = { code: 'UnknownDeadLetter', message: 'There is no dead letter 98765.' };
  const body = { requestId: 'redrive-unknown', letter: '98765' };
  expect(await ask('RedriveRequested', body)).toMatchObject({ outcome: 'refused', refusal });
  expect(await post('98765', 'redrive-unknown-2')).toMatchObject({ status: 404, body: refusal });
  expect(await post('the-last', 'redrive-unknown-3')).toMatchObject({
    status: 422,
    body: { detail: expect.stringMatching(/letter: must be the number of a dead letter/) },
  });
});

test('a letter of a run that has ended with its plan is not sent again, and the answer says what to do instead', async () => {
  const { backupId, letter } = await givenUp('over');
  const refusal = { code: 'PlanningFailed', message: 'Vm over could not be planned: no luck.' };
  const data = { backupId, hostId: 'lab', vmId: 'over', refusal };
  await planner.append(`plan-${backupId}`, { type: 'PlanRefused', data });
  expect(await post(letter, 'redrive-over')).toMatchObject({
    status: 409,
    body: { code: 'RunIsOver', detail: expect.stringMatching(/no luck/), wayOut: expect.any(String) },
  });
  expect(planned).not.toContain(backupId);
});

test('of two requests for the same letter at once, one has it sent again and the other is told so', async () => {
  const { backupId, letter } = await givenUp('contested');
  const answers = await Promise.all(['x', 'y', 'z'].map((key) => post(letter, `contest-${key}`)));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409]);
  await eventually('the plan', 10_000, () => planned.includes(backupId) || undefined);
  const ofLetter = (await redrives()).filter(
    (event) => event.type === 'DeadLetterRedriven' && event.data.deadLetterId === letter,
  );
  expect(ofLetter).toHaveLength(1);
});

import type { Recorded } from '@backhaul/contracts';
import type { EventStore, EventTransaction } from '@backhaul/event-store';
import { derivedId, eventually, Fault } from '@backhaul/kernel';
import { sql } from 'kysely';
import { connect, headers as natsHeaders } from 'nats';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { claimed, vmStream } from './test-events.fixture.ts';
import { openTestMessaging, type TestMessaging, type TestService } from './testing.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
let planner: TestService;
const quickly = { attemptsMax: 3, firstDelayMilliseconds: 20, delayMillisecondsMax: 100 };

beforeAll(async () => {
  servers = await openTestMessaging();
  trigger = await servers.connect('trigger');
  planner = await servers.connect('planner', { retry: quickly });
});
afterAll(() => servers.close());

interface DeadLetter {
  id: number;
  reason: string;
  subject: string;
}
const deadLetters = async (store: EventStore, consumer: string): Promise<DeadLetter[]> =>
  (
    await sql<DeadLetter>`select id::int, reason, subject from public.dead_letters
      where consumer = ${consumer} order by id`.execute(store.kysely)
  ).rows;

/** A handler that answers with a fact of its own, so that its effect can be counted in the log. */
async function refusePlan(event: Recorded<'VmClaimed'>, transaction: EventTransaction): Promise<void> {
  const { runId: backupId } = event.data;
  await transaction.append(
    [
      {
        stream: `plan-${derivedId(backupId, event.eventId)}`,
        expected: 'none',
        events: [{ type: 'PlanRefused', data: { backupId, hostId: 'h1', vmId: 'web-1', refusal } }],
      },
    ],
    {
      commandId: derivedId('refuse', event.eventId),
      metadata: { correlation: backupId, causation: event.eventId, actor: 'planner' },
    },
  );
}
const refusal = { code: 'Test', message: 'refused by a test' };

test('a message that is delivered again has its effect once', async () => {
  let runs = 0;
  const consumption = await planner.messaging.consume({
    purpose: 'once',
    types: ['VmClaimed'],
    async handle(event, transaction) {
      if (event.stream !== vmStream('once')) return;
      runs += 1;
      // The first run fails after it has appended: nothing of it may stay.
      await refusePlan(event, transaction);
      if (runs === 1) throw new Fault('the network failed after the append');
    },
  });
  await trigger.append(vmStream('once'), claimed(1));
  const handled = () => planner.occurrences.filter(({ kind }) => kind === 'handled').length > 0 || undefined;
  await eventually('the message to be handled', 10_000, handled);
  await consumption.stop();

  // The consumer is lost with everything it knew: the server delivers the whole stream again.
  const connection = await connect({ servers: servers.nats.url });
  await (await connection.jetstreamManager()).consumers.delete('EVENTS', 'planner__once__VmClaimed');
  await connection.close();
  const again = await planner.messaging.consume({
    purpose: 'once',
    types: ['VmClaimed'],
    handle: () => Promise.reject(new Fault('a message was handled twice', { permanent: true })),
  });
  const skipped = () => planner.occurrences.some(({ kind }) => kind === 'skipped') || undefined;
  await eventually('the message to be skipped', 10_000, skipped);
  await again.stop();
  expect(runs).toBe(2);
  const plans = (await planner.store.readLog(0, { types: ['PlanRefused'] })).events;
  expect(plans).toHaveLength(1);
});

test('events of one type are handled in the order of the log', async () => {
  const seen: number[] = [];
  const total = 60;
  for (let index = 0; index < total; index += 1)
    await trigger.append(vmStream(`order${index % 7}`), claimed(`o${index}`));
  for (const concurrency of [1, 8]) {
    seen.length = 0;
    const versions = new Map<string, number>();
    const consumption = await planner.messaging.consume({
      purpose: `order-${concurrency}`,
      types: ['VmClaimed'],
      concurrency,
      async handle(event) {
        if (!event.stream.startsWith('vm-h1.order')) return;
        // With more than one at a time the order within a stream still stands.
        expect(event.version).toBe((versions.get(event.stream) ?? 0) + 1);
        versions.set(event.stream, event.version);
        seen.push(event.position);
      },
    });
    await eventually('all events', 20_000, () => (seen.length === total ? true : undefined));
    if (concurrency === 1) expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    await consumption.stop();
  }
});

test('a message that can never work becomes a dead letter with its reason, at once', async () => {
  let attempts = 0;
  const consumption = await planner.messaging.consume({
    purpose: 'doomed',
    types: ['VmClaimed'],
    async handle(event) {
      if (event.stream !== vmStream('doomed')) return;
      attempts += 1;
      throw new Fault('Planning failed', { cause: new Fault('the disk has no size', { permanent: true }) });
    },
  });
  await trigger.append(vmStream('doomed'), claimed('doomed'));
  const letters = await eventually('a dead letter', 10_000, async () => {
    const found = await deadLetters(planner.store, 'planner__doomed');
    return found.length > 0 ? found : undefined;
  });
  expect(letters).toEqual([expect.objectContaining({ reason: 'Planning failed: the disk has no size' })]);
  await consumption.stop();
  expect(attempts).toBe(1);
});

test('a fault that could mend is tried again, and kept with its last reason when it does not', async () => {
  let attempts = 0;
  const consumption = await planner.messaging.consume({
    purpose: 'stubborn',
    types: ['VmClaimed'],
    async handle(event) {
      if (event.stream !== vmStream('stubborn')) return;
      attempts += 1;
      throw new Fault(`the host did not answer, time ${attempts}`);
    },
  });
  await trigger.append(vmStream('stubborn'), claimed('stubborn'));
  await eventually('a dead letter', 10_000, async () => {
    const [letter] = await deadLetters(planner.store, 'planner__stubborn');
    return letter?.reason === `the host did not answer, time ${quickly.attemptsMax}` ? true : undefined;
  });
  await consumption.stop();
  expect(attempts).toBe(quickly.attemptsMax);
});

test('a conflict with another writer runs the handler again at once', async () => {
  let attempts = 0;
  let handledAt = 0;
  const consumption = await planner.messaging.consume({
    purpose: 'conflict',
    types: ['VmClaimed'],
    async handle(event) {
      if (event.stream !== vmStream('conflict')) return;
      attempts += 1;
      if (attempts < 4) throw new Fault('the stream moved', { code: 'VersionConflict' });
      handledAt = Date.now();
    },
  });
  await trigger.append(vmStream('conflict'), claimed('conflict'));
  await eventually('the message to be handled', 10_000, () => handledAt || undefined);
  await consumption.stop();
  expect(planner.occurrences).not.toContainEqual({ kind: 'failed', consumer: 'planner__conflict' });
});

test('what is no event becomes a dead letter that says why, and stops nothing behind it', async () => {
  const handled: string[] = [];
  const consumption = await planner.messaging.consume({
    purpose: 'malformed',
    types: ['VmReleased'],
    handle: async (event) => void handled.push(event.eventId),
  });
  const connection = await connect({ servers: servers.nats.url });
  const headers = natsHeaders();
  headers.set('ce-id', 'not \u0001 an id');
  await connection.jetstream().publish('evt.trigger.vm.h1.VmReleased', 'no JSON \u0000', { headers });
  await connection.close();
  const data = {
    hostId: 'h1',
    vmId: 'm',
    runId: derivedId('m'),
    outcome: 'failed',
    restorePoint: null,
  } as const;
  await trigger.append(vmStream('malformed'), { type: 'VmReleased', data });
  await eventually('the event behind it', 10_000, () => handled.length || undefined);
  await consumption.stop();
  const letters = await deadLetters(planner.store, 'planner__malformed');
  expect(letters).toEqual([expect.objectContaining({ subject: 'evt.trigger.vm.h1.VmReleased' })]);
  expect(letters[0]?.reason).toMatch(/is no event: .*ce-specversion/s);
});

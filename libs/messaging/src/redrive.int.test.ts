import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type Event, streamName } from '@backhaul/contracts';
import { eventually, Fault } from '@backhaul/kernel';
import { sql } from 'kysely';
import { connect } from 'nats';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { findDeadLetter, letHandleAgain } from './dead-letters.ts';
import { claimed, vmStream } from './test-events.fixture.ts';
import { openTestMessaging, type TestMessaging, type TestService } from './testing.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
beforeAll(async () => {
  servers = await openTestMessaging();
  trigger = await servers.connect('trigger');
});
afterAll(() => servers.close());

async function lettersOf(consumer: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id::text from public.dead_letters where consumer = ${consumer} order by id`.execute(
    trigger.store.kysely,
  );
  return rows.map(({ id }) => id);
}

const letterOf = (consumer: string, which = 0): Promise<string> =>
  eventually(
    `dead letter ${which + 1} of ${consumer}`,
    10_000,
    async () => (await lettersOf(consumer))[which],
  );

/** As the trigger records it. */
async function redrive(deadLetterId: string): Promise<void> {
  const letter = await findDeadLetter(trigger.store, deadLetterId);
  if (letter === undefined) throw new Error(`There is no dead letter ${deadLetterId}`);
  const { consumer, subject, messageId, messageKey, eventId, reason: failure } = letter;
  const event: Event<'DeadLetterRedriven'> = {
    type: 'DeadLetterRedriven',
    data: {
      ...{ deadLetterId, consumer, subject, messageId, eventId, failure },
      ...{ requestId: 'r1', reason: 'mended', requestedBy: 'ops', redrivenAt: new Date().toISOString() },
    },
  };
  await trigger.append(streamName('deadLetter', messageKey), event);
}

describe('a message that its consumer gave up', () => {
  test('is handled once when it is sent again, and nobody else notices', async () => {
    const planner = await servers.connect('planner');
    const ingest = await servers.connect('ingest');
    let broken = true;
    const handled: string[] = [];
    const handle = async (event: { eventId: string; stream: string }): Promise<void> => {
      if (event.stream !== vmStream('mended')) return;
      if (broken)
        throw new Fault('Planning failed', { cause: new Fault('no such disk', { permanent: true }) });
      handled.push(event.eventId);
    };
    await planner.messaging.consume({ purpose: 'mended', types: ['VmClaimed'], handle });
    // The same event, of another service and of another consumer.
    const others: string[] = [];
    const note = async (event: { stream: string }): Promise<void> => {
      if (event.stream === vmStream('mended')) others.push(event.stream);
    };
    await planner.messaging.consume({ purpose: 'bystander', types: ['VmClaimed'], handle: note });
    await ingest.messaging.consumeWork({
      purpose: 'other',
      types: ['VmClaimed'],
      concurrency: 1,
      handle: note,
    });
    await trigger.append(vmStream('mended'), claimed('mended'));
    const letter = await letterOf('planner__mended');
    await eventually('the others to have handled it', 10_000, () => others.length === 2 || undefined);
    broken = false;
    await redrive(letter);
    await eventually('the message to be handled', 10_000, () => handled.length || undefined);
    const skippedBy = (service: TestService, consumer: string) =>
      eventually(
        `${consumer} to skip the copy`,
        10_000,
        () => service.occurrences.some((o) => o.kind === 'skipped' && o.consumer === consumer) || undefined,
      );
    await skippedBy(planner, 'planner__bystander');
    await skippedBy(ingest, 'ingest__other');

    // The news of the redrive comes a second time, to a consumer that is made anew.
    await planner.messaging.stopConsuming();
    const nats = await connect({ servers: servers.nats.url });
    await (await nats.jetstreamManager()).consumers.delete('EVENTS', 'planner__redrive__DeadLetterRedriven');
    await nats.close();
    const again = await servers.connect('planner');
    await again.messaging.consume({ purpose: 'mended', types: ['VmClaimed'], handle });
    await skippedBy(again, 'planner__redrive');
    expect([handled.length, others.length, (await lettersOf('planner__mended')).length]).toEqual([1, 2, 1]);
    await Promise.all([again.messaging.close(), ingest.messaging.close()]);
  });

  test('is another dead letter when it fails again, which can be sent again, too', async () => {
    const planner = await servers.connect('planner');
    let attempts = 0;
    await planner.messaging.consume({
      purpose: 'thrice',
      types: ['VmClaimed'],
      async handle(event) {
        if (event.stream !== vmStream('thrice')) return;
        attempts += 1;
        if (attempts < 3) throw new Fault(`attempt ${attempts} failed`, { permanent: true });
      },
    });
    await trigger.append(vmStream('thrice'), claimed('thrice'));
    await redrive(await letterOf('planner__thrice'));
    await redrive(await letterOf('planner__thrice', 1));
    await eventually('the third attempt', 10_000, () => attempts === 3 || undefined);
    expect(await lettersOf('planner__thrice')).toHaveLength(2);
    await planner.messaging.close();
  });

  // The death of a service between the news of the redrive and what it does about it.
  test.each([
    { name: 'before it had heard of the redrive', purpose: 'unheard', firstStep: false },
    { name: 'between its two steps', purpose: 'halfway', firstStep: true },
  ])('is sent again by the next process when the service was killed $name', async (died) => {
    const { purpose } = died;
    const child = spawn(
      process.execPath,
      [fileURLToPath(new URL('./giving-up.fixture.ts', import.meta.url))],
      {
        env: {
          PATH: process.env.PATH,
          POSTGRES_URL: servers.postgres.urlOf('ingest'),
          NATS_URL: servers.nats.url,
          PURPOSE: purpose,
        },
        stdio: 'inherit',
      },
    );
    const exited = once(child, 'exit');
    let letter: string;
    try {
      await trigger.append(vmStream(purpose), claimed(purpose));
      letter = await eventually('its dead letter', 20_000, async () => {
        for (const id of await lettersOf(`ingest__${purpose}`)) {
          const { messageId } = (await findDeadLetter(trigger.store, id)) ?? {};
          const [event] = (await trigger.store.readStreamPage(vmStream(purpose))).events;
          if (messageId === event?.eventId) return id;
        }
        return undefined;
      });
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
    await redrive(letter);
    if (died.firstStep) await letHandleAgain(await servers.postgres.store('ingest'), letter);
    const heir = await servers.connect('ingest');
    const handled: string[] = [];
    await heir.messaging.consumeWork({
      purpose,
      types: ['VmClaimed'],
      concurrency: 1,
      handle: async (event) => void handled.push(event.stream),
    });
    await eventually('the message to be handled', 20_000, () => handled.length || undefined);
    await heir.messaging.close();
    expect(handled).toEqual([vmStream(purpose)]);

    // Told once more, it does not undo that the message was handled.
    await letHandleAgain(heir.store, letter);
    const { messageKey } = (await findDeadLetter(heir.store, letter)) ?? {};
    const { rows } = await sql`select from public.inbox
      where consumer = ${`ingest__${purpose}`} and event_id = ${messageKey}`.execute(heir.store.kysely);
    expect(rows).toHaveLength(1);
  });
});

/** What a message is given up for: its own failures, and not what happened around it. */
import { AssertionError } from 'node:assert';
import { eventually, Fault } from '@backhaul/kernel';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { claimed, vmStream } from './test-events.fixture.ts';
import { openTestMessaging, type TestMessaging, type TestService } from './testing.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const retry = { attemptsMax: 3, firstDelayMilliseconds: 5, delayMillisecondsMax: 20 };
const away = new Fault('Appending failed', { code: 'ConnectionLost' });
const passing = new Fault('a statement was cancelled');
const OUTAGE = 30;

let servers: TestMessaging;
let trigger: TestService;
beforeAll(async () => {
  servers = await openTestMessaging();
  trigger = await servers.connect('trigger');
});
afterAll(() => servers.close());

const lettersOf = async (consumer: string): Promise<number> =>
  (await sql`select 1 from public.dead_letters where consumer = ${consumer}`.execute(trigger.store.kysely))
    .rows.length;

/** A consumer of long work that meets these, one a delivery, and then succeeds. */
async function meeting(purpose: string, errors: readonly Error[]) {
  const bugs: Error[] = [];
  const givenUp: string[] = [];
  const ingest = await servers.connect('ingest', { retry, onBug: (bug) => void bugs.push(bug) });
  let deliveries = 0;
  let isDone = false;
  await ingest.messaging.consumeWork({
    purpose,
    types: ['VmClaimed'],
    concurrency: 1,
    async handle(event) {
      if (event.stream !== vmStream(purpose)) return;
      const error = errors[deliveries++];
      if (error !== undefined) throw error;
      isDone = true;
    },
    givenUp: async (_, error) => void givenUp.push((error as Error).message),
  });
  await trigger.append(vmStream(purpose), claimed(purpose));
  return { ...{ ingest, bugs, givenUp }, deliveries: () => deliveries, isDone: () => isDone || undefined };
}

test('after a long outage of the database a message still has all its failures before it', async () => {
  const outage = Array.from({ length: OUTAGE }, () => away);
  const { ingest, isDone, givenUp, deliveries } = await meeting('outage', [...outage, passing, passing]);
  await eventually('it to be handled', 30_000, isDone);
  expect([deliveries(), givenUp, await lettersOf('ingest__outage')]).toEqual([OUTAGE + 3, [], 0]);
  await ingest.messaging.close();
});

test('failures before and after an outage are counted together, and are bounded', async () => {
  const outage = Array.from({ length: OUTAGE }, () => away);
  const errors = [passing, ...outage, passing, passing, passing];
  const { ingest, givenUp, deliveries } = await meeting('counted', errors);
  await eventually('the dead letter', 30_000, async () => (await lettersOf('ingest__counted')) || undefined);
  expect([deliveries(), givenUp]).toEqual([OUTAGE + 3, [passing.message]]);
  await ingest.messaging.close();
});

test('a bug after an outage ends the process, and in one that begins with it after many deliveries makes a dead letter', async () => {
  const bug = new AssertionError({ message: 'a port has two holders' });
  const outage = Array.from({ length: OUTAGE }, () => away);
  const first = await meeting('bug', [...outage, bug]);
  await eventually('the bug', 30_000, () => first.bugs.length || undefined);
  expect([first.bugs, first.givenUp]).toEqual([[bug], []]);

  // As if the first had ended: nobody keeps the message alive any more, and another process is given it.
  const closing = first.ingest.messaging.close(1);
  const second = await servers.connect('ingest', { retry, onBug: (again) => void first.bugs.push(again) });
  await second.messaging.consumeWork({
    ...{ purpose: 'bug', types: ['VmClaimed'], concurrency: 1 },
    async handle(event) {
      if (event.stream === vmStream('bug')) throw bug;
    },
  });
  await eventually('the dead letter', 30_000, async () => (await lettersOf('ingest__bug')) || undefined);
  expect(first.bugs).toHaveLength(1);
  await closing;
  await second.messaging.close();
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { eventually, Fault } from '@backhaul/kernel';
import { AckPolicy, connect, DeliverPolicy, nanos } from 'nats';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { ACK_WAIT_MILLISECONDS } from './consumption.ts';
import { EVENTS } from './streams.ts';
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

test('work of a process that is killed goes to another one, and only then', async () => {
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('./endless-worker.fixture.ts', import.meta.url))],
    {
      env: {
        PATH: process.env.PATH,
        POSTGRES_URL: servers.postgres.urlOf('ingest'),
        NATS_URL: servers.nats.url,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const exited = once(child, 'exit');
  try {
    await trigger.append(vmStream('killed'), claimed('killed'));
    const [line] = await once(child.stdout, 'data');
    const heir = await servers.connect('ingest');
    const taken: string[] = [];
    await heir.messaging.consumeWork({
      purpose: 'killed',
      types: ['VmClaimed'],
      concurrency: 1,
      handle: async (event) => void taken.push(event.eventId),
    });
    const killedAt = Date.now();
    child.kill('SIGKILL');
    await exited;
    await eventually('the other process to take it', 20_000, () => taken.length || undefined);
    expect(taken).toEqual([String(line).trim()]);
    // Its last sign of life was before it was killed; what is more is for a busy machine.
    expect(Date.now() - killedAt).toBeLessThan(ACK_WAIT_MILLISECONDS + 4_000);
    await heir.messaging.close();
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
});

test('work that takes longer than the server waits is not given to anybody else', async () => {
  const instances = [await servers.connect('ingest'), await servers.connect('ingest')];
  let runs = 0;
  let finish = (): void => undefined;
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  for (const { messaging } of instances) {
    await messaging.consumeWork({
      purpose: 'long',
      types: ['VmClaimed'],
      // The one at work has no room: a message that is delivered again can only go to the other.
      concurrency: 1,
      async handle(event) {
        if (event.stream !== vmStream('long')) return;
        runs += 1;
        await done;
      },
    });
  }
  // Takes the same message at the same time and says nothing: when it is told again, the server's patience is over.
  const silent = await silentConsumer();
  await trigger.append(vmStream('long'), claimed('long'));
  await eventually('the work to begin', 10_000, () => runs || undefined);
  expect(await silent.nextDelivery()).toBe(1);
  expect(await silent.nextDelivery()).toBe(2);
  await silent.close();
  finish();
  await Promise.all(instances.map(({ messaging }) => messaging.close()));
  expect(runs).toBe(1);
});

/** New events of VMs for a consumer with the patience of ours; answers how often the next one has been delivered to it. */
async function silentConsumer() {
  const nats = await connect({ servers: servers.nats.url });
  const manager = await nats.jetstreamManager();
  await manager.consumers.add(EVENTS, {
    durable_name: 'silent',
    filter_subject: 'evt.trigger.vm.*.VmClaimed',
    deliver_policy: DeliverPolicy.New,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ACK_WAIT_MILLISECONDS),
  });
  const consumer = await nats.jetstream().consumers.get(EVENTS, 'silent');
  return {
    nextDelivery: async () => (await consumer.next({ expires: 20_000 }))?.info.redeliveryCount,
    close: () => nats.close(),
  };
}

test('no more than the given number of handlers work at a time, over all types', async () => {
  const ingest = await servers.connect('ingest');
  let [atWork, most, done] = [0, 0, 0];
  const total = 12;
  await ingest.messaging.consumeWork({
    purpose: 'bounded',
    types: ['VmClaimed', 'VmReleased'],
    concurrency: 3,
    async handle(event) {
      if (event.stream !== vmStream('bounded')) return;
      atWork += 1;
      most = Math.max(most, atWork);
      await eventually('company', 300, () => atWork === 3 || undefined).catch(() => undefined);
      atWork -= 1;
      done += 1;
    },
  });
  for (let index = 0; index < total; index += 1)
    await trigger.append(vmStream('bounded'), claimed(`bounded${index}`));
  await eventually('all work', 20_000, () => done === total || undefined);
  await ingest.messaging.close();
  expect(most).toBe(3);
});

test('a stop interrupts the work, which then goes to another instance at once', async () => {
  const [first, second] = [await servers.connect('ingest'), await servers.connect('ingest')];
  const runs: string[] = [];
  const work = (name: string) => ({
    purpose: 'stopped',
    types: ['VmClaimed'] as const,
    concurrency: 1,
    async handle(event: { stream: string }, signal: AbortSignal) {
      if (event.stream !== vmStream('stopped')) return;
      runs.push(name);
      if (name === 'second') return;
      await once(signal, 'abort');
      throw new Fault('interrupted by the stop');
    },
  });
  const consumption = await first.messaging.consumeWork(work('first'));
  await trigger.append(vmStream('stopped'), claimed('stopped'));
  await eventually('the first to work', 10_000, () => runs.length || undefined);
  await second.messaging.consumeWork(work('second'));
  const stoppedAt = Date.now();
  await consumption.stop();
  await eventually('the second to work', 10_000, () => runs.includes('second') || undefined);
  expect(runs).toEqual(['first', 'second']);
  expect(Date.now() - stoppedAt).toBeLessThan(3_000);
  await first.messaging.close();
  await second.messaging.close();
});

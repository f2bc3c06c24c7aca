/** Leases that come late or twice, against a real log: nobody is left holding a port that nobody uses. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Event, type Recorded, streamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId } from '@backhaul/kernel';
import { unlimited } from '@backhaul/service';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { childJobStream, type Lease } from './child-job.ts';
import { patienceOf } from './patience.fixture.ts';
import { giveUpChildJob, type IngestParts, runChildJob } from './run-child-job.ts';

let server: TestStore;
let store: EventStore;
let parts: IngestParts;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('ingest');
  const untouched = {
    requireThere: async () => undefined,
    takeBuffer: () => Promise.reject(new Error('Nothing is to be stored in these tests')),
  };
  parts = {
    store,
    repository: untouched as unknown as IngestParts['repository'],
    requestMilliseconds: 1_000,
    patience: patienceOf(60),
    rates: unlimited,
    log: pino({ level: 'silent' }),
  };
});
afterAll(() => server?.close());

const nowhere = 'nbd+unix:///x?socket=/nonexistent/port.sock';
const leased = (name: string, fence: number): Recorded<'PortsLeased'> & { data: Lease } => {
  const backupId = derivedId('test', name);
  const data: Lease = {
    purpose: 'backup',
    hostId: 'lab',
    runId: backupId,
    vmId: 'web',
    childJobId: `${backupId}.vda.0`,
    diskId: 'vda',
    offset: 0,
    length: 4096,
    leaseId: `lease-${fence}`,
    fence,
    attempt: fence,
    wave: 1,
    proxyId: 'p1',
    ports: [{ port: 0, uri: nowhere }],
    kind: 'full',
    diskBytes: 4096,
    extents: { uri: nowhere, changedContext: null },
  };
  return {
    type: 'PortsLeased',
    data,
    eventId: derivedId('lease', name, fence),
    position: 1,
    stream: streamName('host', 'lab'),
    category: 'host',
    version: 1,
    schemaVersion: 1,
    metadata: { correlation: backupId, causation: 'test', actor: 'proxy-manager' },
    recordedAt: '2026-01-01T00:00:00.000Z',
  };
};
const story = async (lease: Recorded<'PortsLeased'>): Promise<Event[]> =>
  await Array.fromAsync(store.readStream(childJobStream(lease.data.childJobId)));
const never = new AbortController().signal;

test('ports that cannot be reached interrupt the job with the real reason, and the same lease again does nothing', async () => {
  const lease = leased('unreachable', 1);
  await runChildJob(parts, lease, never);
  const events = await story(lease);
  expect(events.map(({ type }) => type)).toEqual(['ChildJobStarted', 'ChildJobInterrupted']);
  expect(events[1]?.data).toMatchObject({ reason: expect.stringMatching(/nonexistent/), retryable: true });
  await runChildJob(parts, lease, never);
  expect(await story(lease)).toHaveLength(2);
});

test('a job that was completed under a lease released meanwhile is completed again for the new one', async () => {
  const [first, second] = [leased('completed', 1), leased('completed', 2)];
  const { runId: backupId, hostId, vmId, childJobId, diskId } = first.data;
  const job = { backupId, hostId, vmId, childJobId, diskId };
  const held = { leaseId: 'lease-1', fence: 1, attempt: 1, proxyId: 'p1' };
  const at = '2026-01-01T00:00:00.000Z';
  const none = {
    readBytes: 4096,
    resumedBytes: 0,
    chunks: 0,
    storedBytes: 0,
    zeroBytes: 4096,
    milliseconds: 1,
  };
  await store.append(
    [
      {
        stream: childJobStream(childJobId),
        expected: 'none',
        events: [
          {
            type: 'ChildJobStarted',
            data: {
              ...job,
              ...held,
              ports: [0],
              offset: 0,
              length: 4096,
              kind: 'full',
              kindReason: null,
              resumedBytes: 0,
              startedAt: at,
            },
          },
          { type: 'ChildJobCompleted', data: { ...job, ...held, ...none, completedAt: at } },
        ],
      },
    ],
    { commandId: 'completed', metadata: first.metadata },
  );
  await runChildJob(parts, second, never);
  const last = (await story(first)).at(-1);
  expect(last).toMatchObject({ type: 'ChildJobCompleted', data: { leaseId: 'lease-2', readBytes: 0 } });
  await runChildJob(parts, first, never);
  expect(await story(first)).toHaveLength(3);
});

test('the last word of the attempt before, said while the next one begins, does not stop it', async () => {
  const [first, second] = [leased('last word', 1), leased('last word', 2)];
  let told = false;
  const between = {
    ...{ readStream: store.readStream.bind(store), readStreamPage: store.readStreamPage.bind(store) },
    async append(...args: Parameters<EventStore['append']>) {
      if (!told) {
        told = true;
        await giveUpChildJob(parts, first, new Error('its proxy has gone'));
      }
      return await store.append(...args);
    },
  } as EventStore;
  await runChildJob({ ...parts, store: between }, second, never);
  expect(await story(second)).toMatchObject([
    { type: 'ChildJobInterrupted', data: { leaseId: 'lease-1' } },
    { type: 'ChildJobStarted', data: { leaseId: 'lease-2' } },
    { type: 'ChildJobInterrupted', data: { leaseId: 'lease-2' } },
  ]);
});

test('work that is given up is given back as an interruption', async () => {
  const lease = leased('given up', 1);
  await giveUpChildJob(parts, lease, new Error('the repository is full'));
  expect((await story(lease)).at(-1)).toMatchObject({
    type: 'ChildJobInterrupted',
    data: { reason: 'the repository is full', leaseId: 'lease-1' },
  });
});

test('a port that still says what was meant for another client is worth another attempt', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'bh-garbled-'));
  const path = join(directory, 'port.sock');
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(Buffer.alloc(4096, 0x5a));
  });
  server.listen(path);
  await once(server, 'listening');
  try {
    const uri = `nbd+unix:///x?socket=${path}`;
    const lease = leased('garbled', 1);
    const data = { ...lease.data, ports: [{ port: 0, uri }], extents: { uri, changedContext: null } };
    await runChildJob(parts, { ...lease, data }, never);
    expect((await story(lease)).at(-1)).toMatchObject({
      type: 'ChildJobInterrupted',
      data: { retryable: true, reason: expect.stringMatching(/NBD protocol|greet/) },
    });
  } finally {
    server.close();
    await rm(directory, { recursive: true });
  }
});

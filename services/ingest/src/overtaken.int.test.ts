/** Two instances at one lease, over a real NATS: whoever stands still is overtaken, and the lease is never left to nobody. */
import { cp, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Recorded, streamName } from '@backhaul/contracts';
import { type EventStore, LeaseWatch } from '@backhaul/event-store';
import { derivedId, eventually } from '@backhaul/kernel';
import {
  openStallableLink,
  openTestMessaging,
  type StallableLink,
  type TestMessaging,
  type TestService,
} from '@backhaul/messaging/testing';
import { serveNbd } from '@backhaul/nbd';
import { openRepository, type Repository } from '@backhaul/repository';
import { unlimited } from '@backhaul/service';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { childJobStream, type Lease } from './child-job.ts';
import { patienceOf } from './patience.fixture.ts';
import { giveUpChildJob, type IngestParts, runChildJob } from './run-child-job.ts';
import { transferStream } from './transfer.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const DISK_BYTES = 65_536;

let servers: TestMessaging;
let pool: TestService;
let folder: string;
let repository: Repository;
let link: StallableLink;
beforeAll(async () => {
  servers = await openTestMessaging();
  pool = await servers.connect('proxy-manager');
  folder = await mkdtemp(join(tmpdir(), 'bh-overtaken-'));
  repository = await openRepository({ location: join(folder, 'repository'), workers: 1 });
  link = await openStallableLink(servers.nats.url);
});
afterAll(async () => {
  await servers?.close();
  await link?.close();
  await repository?.close();
  await rm(folder, { recursive: true, force: true });
});

const partsOn = (store: EventStore): IngestParts => ({
  ...{ store, repository, requestMilliseconds: 60_000, patience: patienceOf(60), rates: unlimited },
  log: pino({ level: 'silent' }),
});

/** As `main.ts` wires it. */
async function ingestAt(url: string) {
  const { store, messaging, occurrences } = await servers.connect('ingest', { url });
  const parts = partsOn(store);
  const leases = new LeaseWatch(store);
  const consumption = await messaging.consumeWork({
    purpose: 'child-jobs',
    types: ['PortsLeased'],
    concurrency: 1,
    handle: (event, stop) =>
      leases.whileHeld(event, stop, ({ signal, hasEnded }) => runChildJob(parts, event, signal, hasEnded)),
    givenUp: (event, error) => giveUpChildJob(parts, event, error),
  });
  return {
    store,
    consumption,
    endings: () => occurrences.map(({ kind }) => kind).filter((kind) => kind !== 'published'),
  };
}

let ports = 0;
/** A port whose first reads are answered when the test says so, each for itself; the later ones at once. */
async function gatedPort(gates: number) {
  const gate = Array.from({ length: gates }, () => Promise.withResolvers<void>());
  let reads = 0;
  const served = await serveNbd({
    exports: [
      {
        ...{ name: 'vda', sizeBytes: DISK_BYTES, readOnly: true },
        async read(_, length) {
          await gate[reads++]?.promise;
          return [Buffer.alloc(length, 0x42)];
        },
        extents: async (_, length) => [{ length, isHole: false }],
      },
    ],
    listen: { kind: 'unix', socketPath: join(folder, `port-${ports++}`) },
    log: () => undefined,
  });
  onTestFinished(async () => {
    for (const { resolve } of gate) resolve();
    await served.close();
  });
  return {
    uri: served.uri.replace('///', '///vda'),
    release: (index: number) => gate[index]?.resolve(),
    fail: (index: number) => gate[index]?.reject(new Error('the port has gone')),
    isRead: (times: number) => eventually(`read ${times}`, 20_000, () => reads >= times || undefined),
  };
}

function leaseOf(uri: string, name = 'overtaken'): Lease {
  const runId = derivedId('test', name);
  return {
    ...{ purpose: 'backup', hostId: 'lab', runId, vmId: 'web', childJobId: `${runId}.vda.0` },
    ...{ diskId: 'vda', offset: 0, length: DISK_BYTES, diskBytes: DISK_BYTES, kind: 'full' },
    ...{ leaseId: 'lease-1', fence: 1, attempt: 1, wave: 1, proxyId: 'p1' },
    ...{ ports: [{ port: 0, uri }], extents: { uri, changedContext: null } },
  };
}

test('a lease whose first attempt was overtaken and whose second is interrupted is worked at a third time', async () => {
  const port = await gatedPort(2);
  const lease = leaseOf(port.uri);
  const first = await ingestAt(link.url);
  await pool.append(streamName('host', 'lab'), { type: 'PortsLeased', data: lease });
  await port.isRead(1);

  const second = await ingestAt(servers.nats.url);
  link.stall();
  await port.isRead(2);
  link.flow();
  // The first goes on with what it was at, and finds that somebody else has begun.
  port.release(0);
  await eventually('the first to end', 20_000, () => first.endings().length || undefined);
  expect(first.endings()).toEqual(['let-go']);

  await second.consumption.stop();
  const story = async (): Promise<Recorded[]> =>
    await Array.fromAsync(first.store.readStream(childJobStream(lease.childJobId)));
  const types = async (): Promise<string[]> => (await story()).map(({ type }) => type);
  await eventually('its end', 20_000, async () => (await types()).includes('ChildJobCompleted') || undefined);
  expect(await types()).toEqual([
    ...['ChildJobStarted', 'ChildJobStarted', 'ChildJobStarted'],
    ...['ChunkReceived', 'ChildJobCompleted'],
  ]);
  await eventually('it to be noted', 10_000, () => first.endings().includes('handled') || undefined);
});

test('an attempt that was overtaken interrupts nothing when its own port fails', async () => {
  const port = await gatedPort(2);
  const { store } = await servers.connect('ingest');
  const lease = leaseOf(port.uri, 'fails late');
  const parts = partsOn(store);
  const leased = { type: 'PortsLeased', data: lease, eventId: derivedId('lease', lease.runId) };
  const attempt = () => runChildJob(parts, leased as Recorded<'PortsLeased'>, new AbortController().signal);
  const first = attempt();
  await port.isRead(1);
  const second = attempt();
  await port.isRead(2);
  port.fail(0);
  expect(await first).toBe('overtaken');
  port.release(1);
  expect(await second).toBe(undefined);
  const types = (await Array.fromAsync(store.readStream(childJobStream(lease.childJobId)))).map(
    ({ type }) => type,
  );
  expect(types).toEqual(['ChildJobStarted', 'ChildJobStarted', 'ChunkReceived', 'ChildJobCompleted']);
});

test('one that alone cannot reach its repository leaves the lease to who has overtaken it, and ends no backup', async () => {
  const location = join(folder, 'mounted-elsewhere');
  await cp(repository.location, location, { recursive: true });
  const copy = await openRepository({ location, workers: 1 });
  const { store } = await servers.connect('ingest');
  const port = await gatedPort(2);
  const lease = leaseOf(port.uri, 'away here alone');
  const leased = { type: 'PortsLeased', data: lease, eventId: derivedId('lease', lease.runId) };
  const attempt = (parts: IngestParts) =>
    runChildJob(parts, leased as Recorded<'PortsLeased'>, new AbortController().signal);
  const alone = { ...partsOn(store), repository: copy, patience: patienceOf(5) };
  const first = attempt(alone);
  await port.isRead(1);
  await rename(location, `${location}-away`);
  port.release(0);
  await eventually('a wait', 10_000, () => alone.patience.reason);
  const second = attempt(partsOn(store));
  port.release(1);
  expect(await second).toBe(undefined);
  await first;
  expect(await Array.fromAsync(store.readStream(transferStream(lease.runId)))).toEqual([]);
  const types = (await Array.fromAsync(store.readStream(childJobStream(lease.childJobId)))).map(
    ({ type }) => type,
  );
  expect(types).toEqual(['ChildJobStarted', 'ChildJobStarted', 'ChunkReceived', 'ChildJobCompleted']);
  await copy.close();
});

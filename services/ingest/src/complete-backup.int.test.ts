/** Restore points against a real log and a real repository: when one is made, and when it must not be made. */
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Event, type EventData, Policy, type Recorded, streamName } from '@backhaul/contracts';
import type { EventStore, StreamAppend } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { derivedId, MiB } from '@backhaul/kernel';
import { openRepository, type Repository } from '@backhaul/repository';
import { unlimited } from '@backhaul/service';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { childJobStream } from './child-job.ts';
import { completeBackup, giveUpBackup } from './complete-backup.ts';
import { type IngestParts, runChildJob } from './run-child-job.ts';
import { transferStream } from './transfer.ts';

let server: TestStore;
let directory: string;
let repository: Repository;
let parts: IngestParts;
const stores: Record<string, EventStore> = {};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bh-complete-'));
  server = await openTestStore();
  for (const service of ['planner', 'proxy-manager', 'ingest'] as const)
    stores[service] = await server.store(service);
  repository = await openRepository({ location: join(directory, 'repository'), workers: 1 });
  parts = {
    store: stores.ingest as EventStore,
    repository,
    requestMilliseconds: 1000,
    rates: unlimited,
    log: pino({ level: 'silent' }),
  };
});
afterAll(async () => {
  await repository?.close();
  await server?.close();
  if (directory !== undefined) await rm(directory, { recursive: true, force: true });
});

const AT = '2026-01-01T00:00:00.000Z';
const identity = { format: 'qcow2', inode: '1:2', sizeBytes: 4 * MiB };

/** The events of a backup of one disk of 4 MiB, as far as the services before this one have said them. */
function backupOf(name: string, more: { parent?: EventData<'ProxiesCalculated'>['parent'] } = {}) {
  const backupId = derivedId('test', name);
  const of = { backupId, hostId: 'lab', vmId: 'web' };
  const childJobId = `${backupId}.vda.0`;
  const kind = more.parent ? ('incremental' as const) : ('full' as const);
  const plan: EventData<'ProxiesCalculated'> = {
    ...of,
    parent: more.parent ?? null,
    policy: Policy.parse({}),
    ...{ priority: 'normal', askedAt: null },
    kind,
    mode: 'direct-to-host',
    modeReason: 'small',
    disks: [
      {
        diskId: 'vda',
        sizeBytes: 4 * MiB,
        kind,
        kindReason: 'asked',
        bytesToRead: 4 * MiB,
        childJobs: 1,
      },
    ],
    childJobs: [{ childJobId, diskId: 'vda', offset: 0, length: 4 * MiB, estimatedBytes: 4 * MiB }],
    arithmetic: {
      totalBytes: 4 * MiB,
      childJobBytes: 4 * MiB,
      childJobs: 1,
      maxChildJobsPerProxy: 4,
      maxPortsPerProxy: 4,
      portsPerChildJob: 1,
      capacityPerProxy: 4,
      thresholdShare: 0.1,
    },
    proxiesCalculated: 0,
    proxies: 0,
    expectedShared: 0,
    waves: 1,
    limitedBy: [],
    rejected: [],
  };
  const snapshot = (takenAt: string): Event => ({
    type: 'SnapshotTaken',
    data: {
      hostId: of.hostId,
      vmId: of.vmId,
      runId: of.backupId,
      takenAt,
      pauseMilliseconds: 1,
      disks: [
        {
          diskId: 'vda',
          sizeBytes: 4 * MiB,
          identity,
          kind,
          fallbackReason: null,
          endpoint: 'nbd+unix:///vda?socket=/nonexistent',
          changedContext: null,
          checkpoint: null,
        },
      ],
    },
  });
  const job = { ...of, childJobId, diskId: 'vda' };
  const held = { leaseId: 'lease-1', fence: 1, attempt: 1, proxyId: 'p1' };
  const received = async (): Promise<Event[]> => {
    const { digest, storedBytes } = await repository.putChunk(Buffer.alloc(4 * MiB, name));
    return [
      {
        type: 'ChildJobStarted',
        data: {
          ...{ ...job, ...held, ports: [0], offset: 0, length: 4 * MiB, kind, kindReason: null },
          ...{ resumedBytes: 0, startedAt: AT },
        },
      },
      {
        type: 'ChunkReceived',
        data: {
          ...{ ...job, leaseId: 'lease-1', offset: 0, length: 4 * MiB },
          ...{ digest, readBytes: 4 * MiB, storedBytes },
        },
      },
      {
        type: 'ChildJobCompleted',
        data: {
          ...{ ...job, ...held, readBytes: 4 * MiB, resumedBytes: 0, chunks: 1, storedBytes },
          ...{ zeroBytes: 0, milliseconds: 1, completedAt: AT },
        },
      },
    ];
  };
  return { backupId, childJobId, plan, snapshot, received };
}

async function say(service: string, backupId: string, append: StreamAppend): Promise<readonly Recorded[]> {
  const metadata = { correlation: backupId, causation: 'test', actor: service };
  const said = await stores[service]?.append([append], {
    commandId: derivedId(service, append.stream, JSON.stringify(append.events)),
    metadata,
  });
  if (said?.ok !== true) throw new Error(`Nothing was appended to ${append.stream}`);
  return said.value.events;
}

/** Says all of a backup but its end; answers what makes ingest look. */
async function upToCompletion(
  one: ReturnType<typeof backupOf>,
  instants: readonly string[] = [AT],
): Promise<Recorded<'ChildJobCompleted'>> {
  const { backupId, childJobId, plan } = one;
  await say('planner', backupId, {
    stream: streamName('plan', backupId),
    expected: 'none',
    events: [{ type: 'ProxiesCalculated', data: plan }],
  });
  await say('proxy-manager', backupId, {
    stream: streamName('host', 'lab'),
    expected: 'any',
    events: instants.map((instant) => one.snapshot(instant)),
  });
  const events = await say('ingest', backupId, {
    stream: childJobStream(childJobId),
    expected: 'none',
    events: await one.received(),
  });
  return events.at(-1) as Recorded<'ChildJobCompleted'>;
}

const endOf = (backupId: string): Promise<Recorded[]> =>
  Array.fromAsync(parts.store.readStream(transferStream(backupId)));

test('with every child job in, the manifest is made and then said, once however often it is asked', async () => {
  const one = backupOf('whole');
  const cause = await upToCompletion(one);
  await completeBackup(parts, cause);
  await completeBackup(parts, cause);
  const events = await endOf(one.backupId);
  expect(events.map(({ type }) => type)).toEqual(['BackupCompleted']);
  const stored = await repository.readManifest(one.backupId);
  expect(events[0]?.data).toMatchObject({ restorePoint: { manifestDigest: stored?.digest, takenAt: AT } });
});

test('two instants never make a restore point: the backup fails, and says so', async () => {
  const one = backupOf('two instants');
  const cause = await upToCompletion(one, [AT, '2026-01-01T00:05:00.000Z']);
  const failure = await completeBackup(parts, cause).catch((error: unknown) => error);
  expect(failure).toMatchObject({ permanent: true, message: expect.stringMatching(/two instants/) });
  await giveUpBackup(parts, cause, failure);
  await giveUpBackup(parts, cause, failure);
  const events = await endOf(one.backupId);
  expect(events.map(({ type }) => type)).toEqual(['BackupFailed']);
  expect(events[0]?.data).toMatchObject({ refusal: { code: 'RestorePointNotMade' } });
  expect(await repository.readManifest(one.backupId)).toBeUndefined();
});

test('a snapshot that was said again of the same instant is the same snapshot', async () => {
  const one = backupOf('served again');
  await completeBackup(parts, await upToCompletion(one, [AT, AT]));
  expect((await endOf(one.backupId)).map(({ type }) => type)).toEqual(['BackupCompleted']);
});

test('while the log cannot be read as far as the news, nothing is concluded from it', async () => {
  const one = backupOf('log behind');
  const gate = Promise.withResolvers<void>();
  const appended = Promise.withResolvers<void>();
  // A writer that has its place in the log and does not commit: readers may go no further, for it may come before others.
  const slow = (stores.planner as EventStore).transaction(async (transaction) => {
    await transaction.append(
      [
        {
          stream: streamName('plan', derivedId('test', 'slow writer')),
          expected: 'none',
          events: [{ type: 'ProxiesCalculated', data: one.plan }],
        },
      ],
      { commandId: 'slow', metadata: { correlation: 'slow', causation: 'test', actor: 'planner' } },
    );
    appended.resolve();
    await gate.promise;
  });
  try {
    await appended.promise;
    const cause = await upToCompletion(one);
    const failure = await completeBackup(parts, cause).catch((error: unknown) => error);
    expect(failure).toMatchObject({ permanent: false, code: 'LogBehind' });
    expect(await endOf(one.backupId)).toEqual([]);
    gate.resolve();
    await slow;
    await completeBackup(parts, cause);
    expect((await endOf(one.backupId)).map(({ type }) => type)).toEqual(['BackupCompleted']);
  } finally {
    gate.resolve();
    await slow.catch(() => undefined);
  }
});

test('a manifest that cannot be read for a moment is no reason to read a disk in another way; one that is gone is', async () => {
  const parent = backupOf('parent');
  await completeBackup(parts, await upToCompletion(parent));
  const stored = await repository.readManifest(parent.backupId);
  const [said] = await endOf(parent.backupId);
  if (said?.type !== 'BackupCompleted' || stored === undefined) throw new Error('The parent was completed');

  const one = backupOf('child', { parent: said.data.restorePoint });
  await say('planner', one.backupId, {
    stream: streamName('plan', one.backupId),
    expected: 'none',
    events: [{ type: 'ProxiesCalculated', data: one.plan }],
  });
  const uri = 'nbd+unix:///vda?socket=/nonexistent/port.sock';
  const lease = (fence: number) =>
    ({
      type: 'PortsLeased',
      eventId: derivedId('lease', one.backupId, fence),
      metadata: { correlation: one.backupId, causation: 'test', actor: 'proxy-manager' },
      data: {
        purpose: 'backup',
        ...{ runId: one.backupId, hostId: 'lab', vmId: 'web', childJobId: one.childJobId, diskId: 'vda' },
        ...{ offset: 0, length: 4 * MiB, leaseId: `lease-${fence}`, fence, attempt: fence, wave: 1 },
        ...{ proxyId: 'p1', ports: [{ port: 0, uri }], kind: 'incremental', diskBytes: 4 * MiB },
        extents: { uri, changedContext: 'qemu:dirty-bitmap:x' },
      },
    }) as unknown as Recorded<'PortsLeased'>;
  const started = async () =>
    (await Array.fromAsync(parts.store.readStream(childJobStream(one.childJobId))))
      .filter(({ type }) => type === 'ChildJobStarted')
      .map(({ data }) => data as EventData<'ChildJobStarted'>);

  const manifest = join(repository.location, 'manifests', `${parent.backupId}.json`);
  const never = new AbortController().signal;
  await rename(manifest, `${manifest}.away`);
  // A folder where the file belongs: there, and not to be read.
  await mkdir(manifest);
  await expect(runChildJob(parts, lease(1), never)).rejects.toMatchObject({ permanent: false });
  expect(await started()).toEqual([]);

  await rm(manifest, { recursive: true });
  await runChildJob(parts, lease(2), never);
  expect((await started()).at(-1)).toMatchObject({
    kind: 'full',
    kindReason: expect.stringMatching(/is not in the repository/),
  });

  await rename(`${manifest}.away`, manifest);
  await runChildJob(parts, lease(3), never);
  expect((await started()).at(-1)).toMatchObject({ kind: 'incremental', kindReason: null });
});

/** Backups of one disk of 4 MiB on a real log and in a real repository, told as far as a test wants them told. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Event, type EventData, Policy, type Recorded, streamName } from '@backhaul/contracts';
import type { EventStore, StreamAppend } from '@backhaul/event-store';
import { openTestStore } from '@backhaul/event-store/testing';
import { derivedId, MiB } from '@backhaul/kernel';
import { openRepository, type Repository } from '@backhaul/repository';
import { unlimited } from '@backhaul/service';
import { pino } from 'pino';
import { childJobStream } from './child-job.ts';
import { type Parts as CompletionParts, completeBackup } from './complete-backup.ts';
import { OpenJobs } from './open-jobs.ts';
import { patienceOf } from './patience.fixture.ts';
import type { IngestParts } from './run-child-job.ts';
import { transferStream } from './transfer.ts';

export interface BackupLab {
  readonly directory: string;
  readonly repository: Repository;
  readonly parts: IngestParts & CompletionParts;
  readonly stores: Readonly<Record<'planner' | 'proxy-manager' | 'ingest', EventStore>>;
  close(): Promise<void>;
}

export async function openBackupLab(
  more: { location?: string; answerMilliseconds?: number; buffers?: number } = {},
): Promise<BackupLab> {
  const directory = await mkdtemp(join(tmpdir(), 'bh-complete-'));
  const server = await openTestStore();
  const stores = {
    planner: await server.store('planner'),
    'proxy-manager': await server.store('proxy-manager'),
    ingest: await server.store('ingest'),
  };
  const repository = await openRepository({
    location: join(directory, 'repository'),
    ...more,
    workers: 1,
  });
  const log = pino({ level: 'silent' });
  return {
    ...{ directory, repository, stores },
    parts: {
      store: stores.ingest,
      openJobs: new OpenJobs(stores.ingest),
      repository,
      requestMilliseconds: 1000,
      patience: patienceOf(60),
      rates: unlimited,
      log,
    },
    async close() {
      await repository.close();
      await server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export type BackupSketch = ReturnType<typeof backupOf>;

export const AT = '2026-01-01T00:00:00.000Z';
const identity = { format: 'qcow2', inode: '1:2', sizeBytes: 4 * MiB };

/** The events of a backup of one disk of 4 MiB, as far as the services before this one have said them. */
export function backupOf(
  lab: BackupLab,
  name: string,
  more: { parent?: EventData<'ProxiesCalculated'>['parent']; sizeBytes?: number } = {},
) {
  const backupId = derivedId('test', name);
  const sizeBytes = more.sizeBytes ?? 4 * MiB;
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
        sizeBytes: sizeBytes,
        kind,
        kindReason: 'asked',
        bytesToRead: sizeBytes,
        childJobs: 1,
      },
    ],
    childJobs: [{ childJobId, diskId: 'vda', offset: 0, length: sizeBytes, estimatedBytes: sizeBytes }],
    arithmetic: {
      totalBytes: sizeBytes,
      childJobBytes: sizeBytes,
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
          sizeBytes: sizeBytes,
          identity: { ...identity, sizeBytes },
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
    const { digest, storedBytes } = await lab.repository.putChunk(Buffer.alloc(4 * MiB, name));
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

export async function say(
  lab: BackupLab,
  service: keyof BackupLab['stores'],
  backupId: string,
  append: StreamAppend,
): Promise<readonly Recorded[]> {
  const metadata = { correlation: backupId, causation: 'test', actor: service };
  const said = await lab.stores[service].append([append], {
    commandId: derivedId(service, append.stream, JSON.stringify(append.events)),
    metadata,
  });
  if (!said.ok) throw new Error(`Nothing was appended to ${append.stream}`);
  return said.value.events;
}

/** Says what others say of a backup before ingest is asked to do its part. */
export async function upToSnapshot(
  lab: BackupLab,
  one: BackupSketch,
  instants: readonly string[] = [AT],
): Promise<void> {
  const { backupId, plan } = one;
  await say(lab, 'planner', backupId, {
    stream: streamName('plan', backupId),
    expected: 'none',
    events: [{ type: 'ProxiesCalculated', data: plan }],
  });
  await say(lab, 'proxy-manager', backupId, {
    stream: streamName('host', 'lab'),
    expected: 'any',
    events: instants.map((instant) => one.snapshot(instant)),
  });
}

/** Says all of a backup but its end; answers what makes ingest look. */
export async function upToCompletion(
  lab: BackupLab,
  one: BackupSketch,
  instants: readonly string[] = [AT],
): Promise<Recorded<'ChildJobCompleted'>> {
  const { backupId, childJobId } = one;
  await upToSnapshot(lab, one, instants);
  const events = await say(lab, 'ingest', backupId, {
    stream: childJobStream(childJobId),
    expected: 'none',
    events: await one.received(),
  });
  return events.at(-1) as Recorded<'ChildJobCompleted'>;
}

export const endOf = (lab: BackupLab, backupId: string): Promise<Recorded[]> =>
  Array.fromAsync(lab.parts.store.readStream(transferStream(backupId)));

const uri = 'nbd+unix:///vda?socket=/nonexistent/port.sock';
export const never = new AbortController().signal;
export const leaseOf = (one: BackupSketch, fence: number) =>
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

/** A restore point, and the plan of an incremental on it. */
export async function parentAndChild(lab: BackupLab, name: string) {
  const parent = backupOf(lab, `${name}: parent`);
  await completeBackup(lab.parts, await upToCompletion(lab, parent), never);
  const [said] = await endOf(lab, parent.backupId);
  if (said?.type !== 'BackupCompleted') throw new Error('The parent was completed');
  const one = backupOf(lab, `${name}: child`, { parent: said.data.restorePoint });
  await say(lab, 'planner', one.backupId, {
    stream: streamName('plan', one.backupId),
    expected: 'none',
    events: [{ type: 'ProxiesCalculated', data: one.plan }],
  });
  const started = async () =>
    (await Array.fromAsync(lab.parts.store.readStream(childJobStream(one.childJobId))))
      .filter(({ type }) => type === 'ChildJobStarted')
      .map(({ data }) => data as EventData<'ChildJobStarted'>);
  return { parent, one, started };
}

/**
 * Stories for tests: the events of whole backups in the order in which the services append them, fabricated from a few
 * numbers. Nothing random, no clock: the same numbers give the same story.
 */
import {
  type Category,
  CHUNK_BYTES,
  categoryOf,
  defaultPolicy,
  type Event,
  type EventData,
  type EventType,
  type Policy,
  type Recorded,
  type StreamName,
  streamName,
  vmStreamId,
} from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';

/** An event and where it belongs, not recorded yet. `correlation` as the services give it. */
export interface Told {
  readonly stream: StreamName;
  readonly event: Event;
  readonly correlation: string;
}

export interface BackupStory {
  readonly name: string;
  readonly hostId?: string;
  readonly vmId?: string;
  readonly diskIds?: readonly string[];
  readonly jobsPerDisk?: number;
  readonly chunksPerJob?: number;
  /** Proxies of the run; the first is shared when `shared` is set, the others are started for it. */
  readonly proxies?: number;
  readonly shared?: boolean;
  /** The first child job loses its proxy half-way, and goes on through the next one. */
  readonly interrupted?: boolean;
  /** The second disk could not be incremental. */
  readonly fallback?: boolean;
  readonly policy?: Partial<Policy>;
}

/** What is told of a proxy belongs to every backup that it serves, and so to none: its correlation is the host's. */
const OF_THE_HOST = new Set<EventType>([
  'HostRegistered',
  'ProxyActivated',
  'ProxyLost',
  'ProxyIdle',
  'ProxyDeactivated',
  'DriftFound',
]);

export const backupIdOf = (name: string): string => derivedId('story', name);
const DIGEST = 'ab'.repeat(32);
const instantAt = (second: number): string => new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString();
const identity = (sizeBytes: number) => ({ format: 'qcow2', inode: '1:2', sizeBytes });

interface Facts {
  readonly backupId: string;
  readonly hostId: string;
  readonly vmId: string;
  readonly diskIds: readonly string[];
  readonly jobs: readonly { childJobId: string; diskId: string; offset: number; length: number }[];
  readonly diskBytes: number;
  readonly proxyIds: readonly string[];
}

function factsOf(story: BackupStory): Facts {
  const {
    hostId = 'lab',
    vmId = 'web-1',
    diskIds = ['vda', 'vdb'],
    jobsPerDisk = 2,
    chunksPerJob = 4,
  } = story;
  const backupId = backupIdOf(story.name);
  const length = chunksPerJob * CHUNK_BYTES;
  return {
    backupId,
    hostId,
    vmId,
    diskIds,
    diskBytes: length * jobsPerDisk,
    jobs: diskIds.flatMap((diskId) =>
      Array.from({ length: jobsPerDisk }, (_, index) => ({
        childJobId: `${backupId}.${diskId}.${index}`,
        diskId,
        offset: index * length,
        length,
      })),
    ),
    proxyIds: Array.from({ length: story.proxies ?? 2 }, (_, index) =>
      index === 0 && story.shared === true ? `${hostId}-shared` : `${story.name}-p${index + 1}`,
    ),
  };
}

/** From the request to the last thing given back. */
export function backupStory(story: BackupStory): Told[] {
  const facts = factsOf(story);
  const tell = teller(facts.backupId);
  requested(story, facts, tell);
  planned(story, facts, tell);
  activated(story, facts, tell);
  transferred(story, facts, tell);
  givenBack(story, facts, tell);
  return tell.told;
}

function requested(story: BackupStory, facts: Facts, { append }: Teller): void {
  const { backupId, hostId, vmId } = facts;
  append('vm', vmStreamId(hostId, vmId), 'VmClaimed', { hostId, vmId, backupId });
  append('backup', backupId, 'BackupTriggered', {
    backupId,
    hostId,
    vmId,
    kind: 'auto',
    mode: 'auto',
    policy: { ...defaultPolicy, ...story.policy },
    origin: { via: 'nats', requestId: `request-${story.name}`, requestedBy: 'nightly' },
    requestedAt: instantAt(0),
    parent: null,
  });
}

function planned(story: BackupStory, facts: Facts, { append }: Teller): void {
  const { backupId, hostId, vmId, diskIds, jobs, diskBytes, proxyIds } = facts;
  const policy = { ...defaultPolicy, ...story.policy };
  const jobsPerDisk = jobs.length / diskIds.length;
  append('plan', backupId, 'VmInspected', {
    backupId,
    hostId,
    vmId,
    disks: diskIds.map((diskId) => ({
      diskId,
      sizeBytes: diskBytes,
      identity: identity(diskBytes),
      allocated: { bucketBytes: CHUNK_BYTES, buckets: [diskBytes] },
      tracking: {
        state: 'unusable' as const,
        code: 'NoParent' as const,
        reason: 'there is no earlier restore point',
      },
    })),
    modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
  });
  append('plan', backupId, 'ProxiesCalculated', {
    backupId,
    hostId,
    vmId,
    parent: null,
    policy,
    kind: 'full',
    mode: 'proxy-vm',
    modeReason: 'the full is above its threshold',
    disks: diskIds.map((diskId) => ({
      diskId,
      sizeBytes: diskBytes,
      kind: 'full' as const,
      kindReason: 'there is no earlier restore point',
      bytesToRead: diskBytes,
      childJobs: jobsPerDisk,
    })),
    childJobs: jobs.map((job) => ({ ...job, estimatedBytes: job.length })),
    arithmetic: {
      totalBytes: diskBytes * diskIds.length,
      childJobBytes: diskBytes / jobsPerDisk,
      childJobs: jobs.length,
      maxChildJobsPerProxy: 1,
      maxPortsPerProxy: 1,
      portsPerChildJob: 1,
      capacityPerProxy: 1,
      thresholdShare: 2,
    },
    proxiesCalculated: jobs.length,
    proxies: proxyIds.length,
    expectedShared: story.shared === true ? 1 : 0,
    waves: Math.ceil(jobs.length / proxyIds.length),
    limitedBy: [{ limit: 'maxProxiesPerHost', value: proxyIds.length, effect: 'child jobs run in waves' }],
    rejected: [{ what: 'direct-to-host', why: 'the full is above its threshold' }],
  });
}

const startedProxies = (story: BackupStory, { proxyIds }: Facts): readonly string[] =>
  story.shared === true ? proxyIds.slice(1) : proxyIds;

/** The proxy that a backup with `shared` finds running, from an earlier one. */
export function sharedProxyStory(hostId = 'lab'): Told[] {
  const tell = teller(backupIdOf('earlier'));
  tell.append('host', hostId, 'HostRegistered', { hostId, kind: 'directory', address: '/images' });
  startProxy(tell, hostId, backupIdOf('earlier'), `${hostId}-shared`);
  return tell.told;
}

function startProxy({ append }: Teller, hostId: string, backupId: string, proxyId: string): void {
  append('host', hostId, 'ProxyActivationRequested', {
    hostId,
    backupId,
    proxyId,
    ports: 1,
    maxChildJobs: 1,
    maxDisks: 13,
    idleSeconds: 60,
    deadlineSeconds: 120,
    reason: 'no active proxy has a free port',
  });
  append('host', hostId, 'ProxyActivated', {
    hostId,
    proxyId,
    ports: [{ port: 0, endpoint: `nbd+unix:///?socket=/run/${proxyId}-0.sock` }],
  });
}

function activated(story: BackupStory, facts: Facts, tell: Teller): void {
  const { append } = tell;
  const { backupId, hostId, vmId, diskIds, jobs, diskBytes, proxyIds } = facts;
  const run = { hostId, backupId };
  append('host', hostId, 'ActivationRequested', {
    ...run,
    vmId,
    mode: 'proxy-vm',
    proxies: proxyIds.length,
    disks: diskIds.map((diskId) => ({
      diskId,
      kind: 'full' as const,
      parentCheckpoint: null,
      parentIdentity: null,
    })),
    childJobs: [...jobs],
    portsPerChildJob: 1,
    portsPerProxy: 1,
    maxChildJobsPerProxy: 1,
    maxDisksPerProxy: 13,
    maxProxiesPerHost: 8,
    maxDirectStreams: 2,
    maxAttemptsPerChildJob: 4,
    proxyIdleSeconds: 60,
    proxyActivationSeconds: 120,
    requestedAt: instantAt(2),
  });
  append('host', hostId, 'SnapshotRequested', { ...run, vmId });
  append('host', hostId, 'SnapshotTaken', {
    ...run,
    vmId,
    takenAt: instantAt(3),
    pauseMilliseconds: 9,
    disks: diskIds.map((diskId, index) => ({
      diskId,
      sizeBytes: diskBytes,
      identity: identity(diskBytes),
      kind: 'full' as const,
      fallbackReason: story.fallback === true && index === 1 ? 'the bitmap is inconsistent' : null,
      endpoint: `nbd+unix:///${diskId}?socket=/run/snapshot.sock`,
      changedContext: null,
      checkpoint: backupId,
    })),
  });
  const why = (proxyId: string): string =>
    startedProxies(story, facts).includes(proxyId)
      ? 'no active proxy has a free port'
      : 'active, with a free port';
  const chosen = proxyIds.map((proxyId) => ({
    proxyId,
    shared: !startedProxies(story, facts).includes(proxyId),
    why: why(proxyId),
  }));
  append('host', hostId, 'ProxiesChosen', {
    ...run,
    asked: jobs.length,
    proxies: chosen,
    shortfall: 'the host allows 2',
  });
  for (const proxyId of startedProxies(story, facts)) startProxy(tell, hostId, backupId, proxyId);
  for (const proxyId of proxyIds) {
    for (const diskId of diskIds) attach(tell, { ...run, proxyId, diskId });
  }
  append('host', hostId, 'ProxiesActivated', {
    ...run,
    vmId,
    mode: 'proxy-vm',
    asked: jobs.length,
    proxies: chosen.map((proxy) => ({ ...proxy, ports: 1 })),
    shortfall: 'the host allows 2',
  });
}

function attach(
  { append }: Teller,
  held: { hostId: string; backupId: string; proxyId: string; diskId: string },
): void {
  append('host', held.hostId, 'DiskAttachRequested', held);
  append('host', held.hostId, 'DiskAttached', { ...held, exportName: `${held.backupId}.${held.diskId}` });
}

function transferred(story: BackupStory, facts: Facts, tell: Teller): void {
  const { backupId, hostId, vmId, jobs, proxyIds, diskBytes, diskIds } = facts;
  const run = { hostId, backupId };
  const chunksPerJob = (jobs[0]?.length ?? 0) / CHUNK_BYTES;
  let fence = 0;
  for (const [index, job] of jobs.entries()) {
    const wave = Math.floor(index / proxyIds.length) + 1;
    const proxyId = proxyIds[index % proxyIds.length] as string;
    const first = chunks(job.offset, chunksPerJob);
    if (story.interrupted === true && index === 0) {
      const half = Math.floor(chunksPerJob / 2);
      fence += 1;
      const lease = leased(tell, facts, job, { fence, attempt: 1, wave, proxyId }, 0);
      for (const offset of first.slice(0, half)) receive(tell, facts, job, lease.leaseId, offset);
      tell.append('childJob', job.childJobId, 'ChildJobInterrupted', {
        ...lease.job,
        ...lease.held,
        reason: 'reading blocks 0-2047 failed: connection reset',
        retryable: true,
      });
      tell.append('host', hostId, 'ProxyLost', {
        hostId,
        proxyId,
        reason: 'its process ended with signal 9',
      });
      lease.release('proxy-lost');
      tell.append('host', hostId, 'ProxyDeactivated', { hostId, proxyId, reason: 'confirmed gone' });
      const replacement = proxyIds.at(-1) as string;
      fence += 1;
      const again = leased(
        tell,
        facts,
        job,
        { fence, attempt: 2, wave, proxyId: replacement },
        half * CHUNK_BYTES,
      );
      for (const offset of first.slice(half)) receive(tell, facts, job, again.leaseId, offset);
      complete(tell, again, first.length - half);
      continue;
    }
    fence += 1;
    const lost = story.interrupted === true && proxyId === proxyIds[0];
    const lease = leased(
      tell,
      facts,
      job,
      { fence, attempt: 1, wave, proxyId: lost ? (proxyIds.at(-1) as string) : proxyId },
      0,
    );
    for (const offset of first) receive(tell, facts, job, lease.leaseId, offset);
    complete(tell, lease, first.length);
  }
  const chunkCount = jobs.length * chunksPerJob;
  tell.append('transfer', backupId, 'BackupCompleted', {
    ...run,
    vmId,
    kind: 'full',
    mode: 'proxy-vm',
    totals: {
      diskBytes: diskBytes * diskIds.length,
      readBytes: chunkCount * CHUNK_BYTES,
      storedBytes: chunkCount * 1000,
      zeroBytes: 0,
      chunks: chunkCount,
      newChunks: chunkCount,
    },
    restorePoint: restorePoint(facts),
    completedAt: instantAt(60),
  });
}

const chunks = (offset: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => offset + index * CHUNK_BYTES);

const restorePoint = ({ backupId, diskIds, diskBytes }: Facts) => ({
  backupId,
  manifestDigest: DIGEST,
  takenAt: instantAt(3),
  disks: diskIds.map((diskId) => ({
    diskId,
    sizeBytes: diskBytes,
    identity: identity(diskBytes),
    checkpoint: backupId,
  })),
});

type Job = Facts['jobs'][number];

function leased(
  tell: Teller,
  { backupId, hostId, vmId, diskBytes }: Facts,
  { childJobId, diskId, offset, length }: Job,
  { fence, attempt, wave, proxyId }: { fence: number; attempt: number; wave: number; proxyId: string },
  resumedBytes: number,
) {
  const run = { hostId, backupId };
  const leaseId = `${childJobId}#${fence}`;
  const job = { ...run, vmId, childJobId, diskId };
  const held = { leaseId, fence, attempt, proxyId };
  tell.append('host', hostId, 'PortsLeased', {
    ...job,
    ...held,
    offset,
    length,
    wave,
    ports: [{ port: 0, uri: `nbd+unix:///${backupId}.${diskId}?socket=/run/${proxyId}-0.sock` }],
    kind: 'full',
    diskBytes,
    extents: { uri: `nbd+unix:///${diskId}?socket=/run/snapshot.sock`, changedContext: null },
  });
  tell.append('childJob', childJobId, 'ChildJobStarted', {
    ...job,
    ...held,
    ports: [0],
    offset,
    length,
    kind: 'full',
    kindReason: null,
    resumedBytes,
    startedAt: instantAt(5 + fence),
  });
  const release = (because: EventData<'PortsReleased'>['because']): void =>
    tell.append('host', hostId, 'PortsReleased', {
      ...run,
      childJobId,
      leaseId,
      proxyId,
      ports: [0],
      because,
    });
  return { leaseId, job, held, resumedBytes, release };
}

/** Every fourth chunk of a disk is zero. */
function receive(tell: Teller, facts: Facts, job: Job, leaseId: string, offset: number): void {
  const zero = (offset / CHUNK_BYTES) % 4 === 3;
  tell.append('childJob', job.childJobId, 'ChunkReceived', {
    backupId: facts.backupId,
    hostId: facts.hostId,
    vmId: facts.vmId,
    childJobId: job.childJobId,
    diskId: job.diskId,
    leaseId,
    offset,
    length: CHUNK_BYTES,
    digest: zero ? null : DIGEST,
    readBytes: CHUNK_BYTES,
    storedBytes: zero ? 0 : 1000,
  });
}

function complete(tell: Teller, lease: ReturnType<typeof leased>, chunkCount: number): void {
  tell.append('childJob', lease.job.childJobId, 'ChildJobCompleted', {
    ...lease.job,
    ...lease.held,
    readBytes: chunkCount * CHUNK_BYTES,
    resumedBytes: lease.resumedBytes,
    chunks: chunkCount,
    storedBytes: chunkCount * 1000,
    zeroBytes: 0,
    milliseconds: 1000,
    completedAt: instantAt(30),
  });
  lease.release('completed');
}

function givenBack(story: BackupStory, facts: Facts, { append }: Teller): void {
  const { backupId, hostId, vmId, diskIds, proxyIds } = facts;
  const run = { hostId, backupId };
  append('vm', vmStreamId(hostId, vmId), 'VmReleased', {
    ...run,
    vmId,
    outcome: 'completed',
    restorePoint: restorePoint(facts),
  });
  append('host', hostId, 'RunEnding', { ...run, outcome: 'completed' });
  const standing = story.interrupted === true ? proxyIds.slice(1) : proxyIds;
  for (const proxyId of standing) {
    for (const diskId of diskIds) append('host', hostId, 'DiskDetached', { ...run, proxyId, diskId });
  }
  append('host', hostId, 'SnapshotReleased', { ...run, vmId, checkpoints: 'committed' });
  append('host', hostId, 'RunClosed', { ...run, outcome: 'completed' });
  for (const proxyId of startedProxies(story, facts).filter((id) => standing.includes(id))) {
    append('host', hostId, 'ProxyIdle', { hostId, proxyId, since: instantAt(62) });
    append('host', hostId, 'ProxyDeactivated', { hostId, proxyId, reason: 'idle for 60 seconds' });
  }
}

type Teller = ReturnType<typeof teller>;
export function teller(correlation: string) {
  const told: Told[] = [];
  return {
    told,
    append<T extends EventType>(category: Category, id: string, type: T, data: EventData<T>): void {
      const event = { type, data } as unknown as Event;
      const stream = streamName(category, id);
      told.push({ stream, event, correlation: OF_THE_HOST.has(type) ? stream : correlation });
    },
  };
}

/** As a log would record them: positions from 1, one second between events. */
export function recorded(told: readonly Told[], firstPosition = 1): Recorded[] {
  const versions = new Map<string, number>();
  return told.map(({ stream, event, correlation }, index) => {
    const version = (versions.get(stream) ?? 0) + 1;
    versions.set(stream, version);
    return {
      ...event,
      eventId: derivedId('told', stream, version),
      position: firstPosition + index,
      stream,
      category: categoryOf(stream),
      version,
      schemaVersion: 1,
      metadata: { correlation, causation: 'story', actor: 'story' },
      recordedAt: instantAt(firstPosition + index),
    } as Recorded;
  });
}

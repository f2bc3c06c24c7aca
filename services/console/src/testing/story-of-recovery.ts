/** A told recovery: of the restore point of another story's backup, to a VM beside it. */
import {
  CHUNK_BYTES,
  defaultPolicy,
  type EventData,
  type InstantRecovery,
  type RecoveryPlan,
  vmStreamId,
} from '@backhaul/contracts';
import { backupIdOf, DIGEST, type Facts, factsOf, type Job, restorePoint } from './facts.ts';
import { attach, sharedProxies, startProxy } from './story-of-host.ts';
import { instantAt, type Teller, type Told, teller } from './teller.ts';

export interface RecoveryStory {
  readonly name: string;
  /** The name of the backup's story. */
  readonly backup: string;
  readonly vmId?: string;
  /** The first of its two proxies runs already. */
  readonly shared?: boolean;
  /** The first data stream is interrupted half-way, and goes on through the other proxy. */
  readonly interrupted?: boolean;
  readonly end?: 'runs' | 'does not start' | 'damaged';
}

const run = ({ hostId, backupId }: Facts) => ({ hostId, runId: backupId });
const of = ({ hostId, vmId, backupId }: Facts) => ({ recoveryId: backupId, hostId, vmId });

/** From the request to the last thing given back. One disk, two data streams of four chunks, every fourth of them zero. */
export function recoveryStory(story: RecoveryStory): Told[] {
  const facts = factsOf({ vmId: 'web-2', diskIds: ['vda'], ...story });
  const tell = teller(facts.backupId, sharedProxies(facts.hostId));
  requested(story, facts, tell);
  planned(story, facts, tell);
  activated(facts, tell);
  exported(story, facts, tell);
  givenBack(story, facts, tell);
  return tell.told;
}

export function requested(
  story: Pick<RecoveryStory, 'name' | 'backup'>,
  facts: Facts,
  { append }: Teller,
  instant?: InstantRecovery,
): void {
  const { hostId, vmId } = facts;
  append('vm', vmStreamId(hostId, vmId), 'VmClaimed', { ...run(facts), vmId });
  append('recovery', facts.backupId, 'RecoveryTriggered', {
    ...of(facts),
    backupId: backupIdOf(story.backup),
    source: { hostId, vmId: 'web-1' },
    restorePoint: restorePoint(factsOf({ name: story.backup })),
    disks: [...facts.diskIds],
    mode: 'auto',
    policy: defaultPolicy,
    priority: 'high',
    replace: false,
    start: true,
    verify: false,
    ...(instant === undefined ? {} : { instant }),
    machine: { memoryMiB: 1024, cpus: 1 },
    origin: { via: 'nats', requestId: `request-${story.name}`, requestedBy: 'anna' },
    requestedAt: instantAt(100),
  });
}

export function planned(
  story: Pick<RecoveryStory, 'backup' | 'shared'>,
  facts: Facts,
  { append }: Teller,
  more: Partial<RecoveryPlan> = {},
): void {
  const { backupId: recoveryId, hostId, vmId, diskBytes, jobs } = facts;
  const bytesToWrite = (diskBytes / 4) * 3;
  append('plan', recoveryId, 'RecoveryInspected', {
    ...of(facts),
    backupId: backupIdOf(story.backup),
    disks: [
      { diskId: 'vda', sizeBytes: diskBytes, data: { bucketBytes: CHUNK_BYTES, buckets: [bytesToWrite] } },
    ],
    modes: { 'proxy-vm': { available: true }, 'direct-to-host': { available: true } },
    freeBytes: null,
  });
  append('plan', recoveryId, 'RecoveryProxiesCalculated', {
    recoveryId,
    backupId: backupIdOf(story.backup),
    manifestDigest: DIGEST,
    hostId,
    vmId,
    policy: defaultPolicy,
    ...{ priority: 'high', askedAt: instantAt(100) },
    mode: 'proxy-vm',
    modeReason: 'the recovery is above its threshold',
    disks: [{ diskId: 'vda', sizeBytes: diskBytes, bytesToWrite, streams: jobs.length }],
    childJobs: jobs.map((job) => ({ ...job, estimatedBytes: (job.length / 4) * 3 })),
    replace: false,
    start: true,
    verify: false,
    machine: { memoryMiB: 1024, cpus: 1 },
    arithmetic: {
      totalBytes: bytesToWrite,
      disks: 1,
      maxStreamsPerDisk: 2,
      streams: 2,
      portsPerStream: 1,
      maxPortsPerProxy: 1,
      maxChildJobsPerProxy: 1,
      capacityPerProxy: 1,
      thresholdShare: 2,
      activeProxies: story.shared === true ? 1 : 0,
    },
    proxiesCalculated: 2,
    proxies: 2,
    expectedShared: story.shared === true ? 1 : 0,
    waves: 1,
    limitedBy: [],
    rejected: [{ what: 'direct-to-host', why: 'the recovery is above its threshold' }],
    ...more,
  });
}

function activated(facts: Facts, tell: Teller): void {
  const { append } = tell;
  const { hostId, vmId, diskBytes, jobs, proxyIds } = facts;
  append('host', hostId, 'ActivationRequested', {
    purpose: 'recovery',
    ...run(facts),
    vmId,
    mode: 'proxy-vm',
    proxies: 2,
    disks: [{ diskId: 'vda', sizeBytes: diskBytes, bytesToWrite: (diskBytes / 4) * 3 }],
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
    replace: false,
    start: true,
    machine: { memoryMiB: 1024, cpus: 1 },
    requestedAt: instantAt(102),
    ...{ priority: 'high', askedAt: instantAt(100) },
  });
  append('host', hostId, 'TargetRequested', { ...run(facts), vmId });
  append('host', hostId, 'TargetCreated', {
    ...run(facts),
    vmId,
    disks: [{ diskId: 'vda', sizeBytes: diskBytes, endpoint: 'nbd+unix:///vda?socket=/run/target.sock' }],
  });
  const isShared = (proxyId: string): boolean => proxyId === `${hostId}-shared`;
  const chosen = proxyIds.map((proxyId) => ({
    proxyId,
    shared: isShared(proxyId),
    why: isShared(proxyId) ? 'active, with a free port' : 'no active proxy has a free port',
  }));
  append('host', hostId, 'ProxiesChosen', {
    ...run(facts),
    asked: 2,
    proxies: chosen,
    shortfall: null,
    candidates: [],
    candidatesLeftOut: 0,
  });
  for (const { proxyId, shared } of chosen) if (!shared) startProxy(tell, hostId, facts.backupId, proxyId);
  for (const proxyId of proxyIds) attach(tell, { ...run(facts), proxyId, diskId: 'vda' });
  append('host', hostId, 'ProxiesActivated', {
    ...run(facts),
    purpose: 'recovery',
    vmId,
    mode: 'proxy-vm',
    asked: 2,
    proxies: chosen.map((proxy) => ({ ...proxy, ports: 1 })),
    shortfall: null,
  });
}

function exported(story: RecoveryStory, facts: Facts, tell: Teller): void {
  const { hostId, vmId, diskBytes, jobs, proxyIds } = facts;
  for (const [index, job] of jobs.entries()) {
    const proxyId = proxyIds[index] as string;
    if (story.interrupted === true && index === 0) {
      const first = leased(tell, facts, job, { fence: 1, attempt: 1, proxyId, resumedBytes: 0 });
      first.write(0, 1);
      first.interrupt('writing blocks 0-2047 failed: connection reset');
      const again = leased(tell, facts, job, { fence: 2, attempt: 2, proxyId, resumedBytes: CHUNK_BYTES });
      again.write(1, 3);
      again.complete();
      continue;
    }
    const stream = leased(tell, facts, job, { fence: index + 3, attempt: 1, proxyId, resumedBytes: 0 });
    stream.write(0, 3);
    if (story.end === 'damaged' && index === 1) {
      failed(facts, tell, stream);
      return;
    }
    stream.complete();
  }
  const totals = {
    diskBytes,
    writtenBytes: (diskBytes / 4) * 3,
    zeroBytes: diskBytes / 4,
    verifiedBytes: 2 * CHUNK_BYTES,
    chunks: 6,
  };
  tell.append('export', facts.backupId, 'DataExported', { ...of(facts), totals, exportedAt: instantAt(140) });
  tell.append('host', hostId, 'RunEnding', { ...run(facts), purpose: 'recovery', outcome: 'completed' });
  detached(facts, tell);
  const notStarted = story.end === 'does not start' ? 'no kernel was found' : null;
  const started = notStarted === null;
  tell.append('host', hostId, 'TargetKept', { ...run(facts), vmId, started, notStarted });
  tell.append('export', facts.backupId, 'RecoveryCompleted', {
    ...of(facts),
    backupId: backupIdOf(story.backup),
    mode: 'proxy-vm',
    totals,
    started,
    notStarted,
    completedAt: instantAt(150),
  });
}

function failed(facts: Facts, tell: Teller, stream: ReturnType<typeof leased>): void {
  const { hostId, vmId } = facts;
  stream.interrupt(`chunk ${DIGEST} is damaged`, false);
  tell.append('export', facts.backupId, 'RecoveryFailed', {
    ...of(facts),
    refusal: {
      code: 'ChunkDamaged',
      message: `Disk vda at ${4 * CHUNK_BYTES}: chunk ${DIGEST} is damaged.`,
      wayOut: 'Recover an older restore point.',
    },
    alternative: { backupId: backupIdOf('older'), takenAt: instantAt(-3600) },
    failedAt: instantAt(150),
  });
  tell.append('host', hostId, 'RunEnding', { ...run(facts), purpose: 'recovery', outcome: 'failed' });
  detached(facts, tell);
  tell.append('host', hostId, 'TargetDiscarded', { ...run(facts), vmId });
}

function detached(facts: Facts, { append }: Teller): void {
  for (const proxyId of facts.proxyIds)
    append('host', facts.hostId, 'DiskDetached', { ...run(facts), proxyId, diskId: 'vda' });
}

function leased(
  tell: Teller,
  facts: Facts,
  { childJobId, diskId, offset, length }: Job,
  attempted: { fence: number; attempt: number; proxyId: string; resumedBytes: number },
) {
  const { resumedBytes, ...holder } = attempted;
  const job = { ...of(facts), childJobId, diskId };
  const held = { leaseId: `${childJobId}#${holder.fence}`, ...holder };
  let written = 0;
  tell.append('host', facts.hostId, 'PortsLeased', {
    purpose: 'recovery',
    readBack: `nbd+unix:///${diskId}?socket=/run/host/target.sock`,
    ...run(facts),
    vmId: facts.vmId,
    childJobId,
    diskId,
    offset,
    length,
    ...held,
    wave: 1,
    ports: [{ port: 0, uri: `nbd+unix:///${facts.backupId}.vda?socket=/run/${holder.proxyId}-0.sock` }],
    diskBytes: facts.diskBytes,
  });
  tell.append('exportJob', childJobId, 'ExportJobStarted', {
    ...job,
    ...held,
    ports: [0],
    offset,
    length,
    resumedBytes,
    startedAt: instantAt(105 + holder.fence),
  });
  const release = (because: EventData<'PortsReleased'>['because']): void =>
    tell.append('host', facts.hostId, 'PortsReleased', {
      ...run(facts),
      childJobId,
      leaseId: held.leaseId,
      proxyId: holder.proxyId,
      ports: [0],
      because,
    });
  return {
    write(from: number, to: number): void {
      for (let index = from; index < to; index += 1) {
        written += CHUNK_BYTES;
        tell.append('exportJob', childJobId, 'ChunkExported', {
          ...job,
          leaseId: held.leaseId,
          offset: offset + index * CHUNK_BYTES,
          length: CHUNK_BYTES,
          digest: DIGEST,
        });
      }
    },
    interrupt(reason: string, retryable = true): void {
      tell.append('exportJob', childJobId, 'ExportJobInterrupted', { ...job, ...held, reason, retryable });
      release('interrupted');
    },
    complete(): void {
      tell.append('exportJob', childJobId, 'ExportJobCompleted', {
        ...job,
        ...held,
        writtenBytes: written,
        resumedBytes,
        zeroBytes: CHUNK_BYTES,
        verifiedBytes: CHUNK_BYTES,
        chunks: written / CHUNK_BYTES,
        milliseconds: 500,
        completedAt: instantAt(130),
      });
      release('completed');
    },
  };
}

function givenBack(story: RecoveryStory, facts: Facts, { append }: Teller): void {
  const { hostId, vmId, proxyIds } = facts;
  const outcome = story.end === 'damaged' ? 'failed' : 'completed';
  const turn = { ...run(facts), vmId };
  append('vm', vmStreamId(hostId, vmId), 'VmRecoveryEnded', { ...turn, outcome });
  append('host', hostId, 'RunClosed', { ...run(facts), purpose: 'recovery', outcome });
  append('vm', vmStreamId(hostId, vmId), 'VmReleased', { ...turn, outcome, restorePoint: null });
  for (const proxyId of proxyIds.filter((id) => id !== `${hostId}-shared`))
    append('host', hostId, 'ProxyDeactivated', { hostId, proxyId, reason: 'idle for 60 seconds' });
}

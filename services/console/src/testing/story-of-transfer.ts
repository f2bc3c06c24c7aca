/** Ingest's part of a told backup: leases, child jobs and their chunks, and the end of the transfer. */
import { CHUNK_BYTES, type EventData } from '@backhaul/contracts';
import { type BackupStory, DIGEST, type Facts, type Job, restorePoint } from './facts.ts';
import { instantAt, type Teller } from './teller.ts';

export function transferred(story: BackupStory, facts: Facts, tell: Teller): void {
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

function leased(
  tell: Teller,
  { backupId, hostId, vmId, diskBytes }: Facts,
  { childJobId, diskId, offset, length }: Job,
  { fence, attempt, wave, proxyId }: { fence: number; attempt: number; wave: number; proxyId: string },
  resumedBytes: number,
) {
  const run = { hostId, runId: backupId };
  const leaseId = `${childJobId}#${fence}`;
  const job = { hostId, backupId, vmId, childJobId, diskId };
  const held = { leaseId, fence, attempt, proxyId };
  tell.append('host', hostId, 'PortsLeased', {
    purpose: 'backup',
    ...run,
    vmId,
    childJobId,
    diskId,
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

/**
 * One data stream: a portion of one disk on its way out of the repository, over as many attempts as it takes.
 *
 * Promises: what was confirmed once is never written again; only the holder of the newest lease can go on (every append
 * states the exact version it builds on, so an attempt that was thought dead and is not finds its stream moved on and stops).
 * The fold owns its state and changes it in place: a data stream has thousands of chunks.
 */
import { type Event, type EventData, type StreamName, streamName } from '@backhaul/contracts';
import { type Extent, extentEnd, normalised, ok, type Result, refuse, totalLength } from '@backhaul/kernel';

export type ExportJobEvent = Event<
  'ExportJobStarted' | 'ChunkExported' | 'ExportJobCompleted' | 'ExportJobInterrupted'
>;
export type Lease = Extract<EventData<'PortsLeased'>, { purpose: 'recovery' }>;

export const exportJobStream = (childJobId: string): StreamName => streamName('exportJob', childJobId);

export interface ExportJob {
  fence: number;
  state: 'new' | 'running' | 'interrupted' | 'completed';
  /** Sorted and joined, as far as pieces were confirmed in order; `exportedOf` answers the whole truth. */
  readonly exported: Extent[];
  chunks: number;
  /** As it was completed. */
  zeroBytes: number;
  verifiedBytes: number;
}

export const newExportJob = (): ExportJob => ({
  fence: 0,
  state: 'new',
  exported: [],
  chunks: 0,
  zeroBytes: 0,
  verifiedBytes: 0,
});

/** What must not be written again. */
export const exportedOf = (job: ExportJob): Extent[] => normalised(job.exported);

export function evolve(job: ExportJob, event: Event): ExportJob {
  switch (event.type) {
    case 'ExportJobStarted':
      job.fence = event.data.fence;
      job.state = 'running';
      break;
    case 'ChunkExported':
      confirm(job, event.data);
      break;
    case 'ExportJobCompleted':
      job.state = 'completed';
      job.fence = event.data.fence;
      job.zeroBytes = event.data.zeroBytes;
      job.verifiedBytes = event.data.verifiedBytes;
      break;
    case 'ExportJobInterrupted':
      job.state = 'interrupted';
      // A lease may be given up before it began: its message, sent again, finds it gone.
      job.fence = event.data.fence;
      break;
  }
  return job;
}

function confirm(job: ExportJob, { offset, length }: Extent): void {
  const last = job.exported.at(-1);
  if (last !== undefined && extentEnd(last) === offset) {
    job.exported[job.exported.length - 1] = { offset: last.offset, length: last.length + length };
  } else {
    job.exported.push({ offset, length });
  }
  job.chunks += 1;
}

export type Standing = { readonly code: 'Completed' | 'Superseded'; readonly message: string };

/** Begins an attempt, or says why this lease has nothing to do any more: the message may have come late, or twice. */
export function start(job: ExportJob, lease: Lease, at: string): Result<Event<'ExportJobStarted'>, Standing> {
  if (job.state === 'completed')
    return refuse({ code: 'Completed', message: `Data stream ${lease.childJobId} is done` });
  // An attempt that was interrupted gave its ports back: its message, come again, must not write through them.
  if (lease.fence < job.fence || (job.state === 'interrupted' && lease.fence === job.fence)) {
    const message = `Data stream ${lease.childJobId} went on under fence ${job.fence}; this lease has ${lease.fence}`;
    return refuse({ code: 'Superseded', message });
  }
  return ok({
    type: 'ExportJobStarted',
    data: {
      ...identityOf(lease),
      ...heldBy(lease),
      ports: lease.ports.map(({ port }) => port),
      offset: lease.offset,
      length: lease.length,
      resumedBytes: totalLength(exportedOf(job)),
      startedAt: at,
    },
  });
}

const identityOf = ({ runId, hostId, vmId, childJobId, diskId }: Lease) => ({
  recoveryId: runId,
  hostId,
  vmId,
  childJobId,
  diskId,
});
const heldBy = ({ leaseId, fence, attempt, proxyId }: Lease) => ({ leaseId, fence, attempt, proxyId });

export const chunkExported = (
  lease: Lease,
  { offset, length, digest }: { offset: number; length: number; digest: string },
): Event<'ChunkExported'> => ({
  type: 'ChunkExported',
  data: { ...identityOf(lease), leaseId: lease.leaseId, offset, length, digest },
});

export interface Attempt {
  readonly writtenBytes: number;
  readonly resumedBytes: number;
  readonly zeroBytes: number;
  readonly verifiedBytes: number;
  readonly milliseconds: number;
  readonly at: string;
}

export const completed = (
  job: ExportJob,
  lease: Lease,
  { at, ...attempt }: Attempt,
): Event<'ExportJobCompleted'> => ({
  type: 'ExportJobCompleted',
  data: { ...identityOf(lease), ...heldBy(lease), ...attempt, chunks: job.chunks, completedAt: at },
});

/** Done under an earlier lease that was released before its completion was heard: this one would be held for nothing. */
export const completedAgain = (job: ExportJob, lease: Lease, at: string): Event<'ExportJobCompleted'> => {
  const { zeroBytes, verifiedBytes } = job;
  const resumedBytes = totalLength(exportedOf(job));
  return completed(job, lease, {
    ...{ writtenBytes: 0, resumedBytes, zeroBytes, verifiedBytes, milliseconds: 0, at },
  });
};

export const interrupted = (
  lease: Lease,
  reason: string,
  retryable: boolean,
): Event<'ExportJobInterrupted'> => ({
  type: 'ExportJobInterrupted',
  data: { ...identityOf(lease), ...heldBy(lease), reason, retryable },
});

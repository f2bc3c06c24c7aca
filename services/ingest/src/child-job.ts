/**
 * One child job: a portion of one disk on its way into the repository, over as many attempts as it takes.
 *
 * Promises: what was received once is never read again; only the holder of the newest lease can go on (every append
 * states the exact version it builds on, so an attempt that was thought dead and is not finds its stream moved on and stops).
 * The fold owns its state and changes it in place: a job has thousands of chunks.
 */
import { type Event, type EventData, type StreamName, streamName } from '@backhaul/contracts';
import { type Extent, extentEnd, normalised, ok, type Result, refuse, totalLength } from '@backhaul/kernel';

export type ChildJobEvent = Event<
  'ChildJobStarted' | 'ChunkReceived' | 'ChildJobCompleted' | 'ChildJobInterrupted'
>;
export type Lease = Extract<EventData<'PortsLeased'>, { purpose: 'backup' }>;

export const childJobStream = (childJobId: string): StreamName => streamName('childJob', childJobId);

export interface ChildJob {
  kind: 'full' | 'incremental' | undefined;
  fence: number;
  state: 'new' | 'running' | 'interrupted' | 'completed';
  /** Sorted and joined, as far as pieces came in order; `receivedOf` answers the whole truth. */
  readonly received: Extent[];
  chunks: number;
  storedBytes: number;
  zeroBytes: number;
}

export const newChildJob = (): ChildJob => ({
  kind: undefined,
  fence: 0,
  state: 'new',
  received: [],
  chunks: 0,
  storedBytes: 0,
  zeroBytes: 0,
});

/** What need not be read again. */
export const receivedOf = (job: ChildJob): Extent[] => normalised(job.received);

export function evolve(job: ChildJob, event: Event): ChildJob {
  switch (event.type) {
    case 'ChildJobStarted':
      // A snapshot that had to be taken anew may have turned an incremental into a full: pieces of the one are none of the other.
      if (job.kind !== undefined && job.kind !== event.data.kind) forget(job);
      job.kind = event.data.kind;
      job.fence = event.data.fence;
      job.state = 'running';
      break;
    case 'ChunkReceived':
      receive(job, event.data);
      break;
    case 'ChildJobCompleted':
      job.state = 'completed';
      job.fence = event.data.fence;
      break;
    case 'ChildJobInterrupted':
      job.state = 'interrupted';
      break;
  }
  return job;
}

function receive(job: ChildJob, piece: EventData<'ChunkReceived'>): void {
  const last = job.received.at(-1);
  if (last !== undefined && extentEnd(last) === piece.offset) {
    job.received[job.received.length - 1] = { offset: last.offset, length: last.length + piece.length };
  } else {
    job.received.push({ offset: piece.offset, length: piece.length });
  }
  if (piece.digest === null) job.zeroBytes += piece.length;
  else job.chunks += 1;
  job.storedBytes += piece.storedBytes;
}

function forget(job: ChildJob): void {
  job.received.length = 0;
  job.chunks = 0;
  job.storedBytes = 0;
  job.zeroBytes = 0;
}

export type Standing = { readonly code: 'Completed' | 'Superseded'; readonly message: string };

/** Begins an attempt, or says why this lease has nothing to do any more: the message may have come late, or twice. */
export function start(
  job: ChildJob,
  lease: Lease,
  order: { kind: 'full' | 'incremental'; kindReason: string | null; at: string },
): Result<Event<'ChildJobStarted'>, Standing> {
  if (job.state === 'completed')
    return refuse({ code: 'Completed', message: `Child job ${lease.childJobId} is done` });
  // An attempt that was interrupted gave its ports back: its message, come again, must not read through them.
  if (lease.fence < job.fence || (job.state === 'interrupted' && lease.fence === job.fence)) {
    const message = `Child job ${lease.childJobId} went on under fence ${job.fence}; this lease has ${lease.fence}`;
    return refuse({ code: 'Superseded', message });
  }
  const keeps = job.kind === undefined || job.kind === order.kind;
  return ok({
    type: 'ChildJobStarted',
    data: {
      ...identityOf(lease),
      ...heldBy(lease),
      ports: lease.ports.map(({ port }) => port),
      offset: lease.offset,
      length: lease.length,
      kind: order.kind,
      kindReason: order.kindReason,
      resumedBytes: keeps ? totalLength(receivedOf(job)) : 0,
      startedAt: order.at,
    },
  });
}

const identityOf = ({ runId: backupId, hostId, vmId, childJobId, diskId }: Lease) => ({
  backupId,
  hostId,
  vmId,
  childJobId,
  diskId,
});
const heldBy = ({ leaseId, fence, attempt, proxyId }: Lease) => ({ leaseId, fence, attempt, proxyId });

export const chunkReceived = (
  lease: Lease,
  piece: { offset: number; length: number; digest: string | null; readBytes: number; storedBytes: number },
): Event<'ChunkReceived'> => ({
  type: 'ChunkReceived',
  data: { ...identityOf(lease), leaseId: lease.leaseId, ...piece },
});

export const completed = (
  job: ChildJob,
  lease: Lease,
  attempt: { readBytes: number; resumedBytes: number; milliseconds: number; at: string },
): Event<'ChildJobCompleted'> => ({
  type: 'ChildJobCompleted',
  data: {
    ...identityOf(lease),
    ...heldBy(lease),
    readBytes: attempt.readBytes,
    resumedBytes: attempt.resumedBytes,
    chunks: job.chunks,
    storedBytes: job.storedBytes,
    zeroBytes: job.zeroBytes,
    milliseconds: attempt.milliseconds,
    completedAt: attempt.at,
  },
});

export const interrupted = (
  lease: Lease,
  reason: string,
  retryable: boolean,
): Event<'ChildJobInterrupted'> => ({
  type: 'ChildJobInterrupted',
  data: { ...identityOf(lease), ...heldBy(lease), reason, retryable },
});

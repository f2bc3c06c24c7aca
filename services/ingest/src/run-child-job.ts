/**
 * Carries out one lease: starts or resumes the child job, receives its portion, and says how it ended. Called once a
 * message, and again when a message comes again: what the stream says decides, so a repeat resumes or does nothing.
 */
import type { EventMetadata, Recorded } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { describeError, hasCode, isPermanent, totalLength } from '@backhaul/kernel';
import type { Repository } from '@backhaul/repository';
import type { Logger } from 'pino';
import {
  childJobStream,
  chunkReceived,
  completed,
  evolve,
  interrupted,
  type Lease,
  newChildJob,
  receivedOf,
  start,
} from './child-job.ts';
import { ChunkLog, Superseded } from './chunk-log.ts';
import { receivePortion } from './receive-portion.ts';
import { hasEnded, parentOf } from './transfer.ts';

export interface IngestParts {
  readonly store: EventStore;
  readonly repository: Repository;
  readonly requestMilliseconds: number;
  readonly log: Logger;
}

export async function runChildJob(
  parts: IngestParts,
  leased: Recorded<'PortsLeased'>,
  signal: AbortSignal,
): Promise<void> {
  const lease = leased.data;
  if (lease.purpose !== 'backup') return;
  const { store, log } = parts;
  const metadata: EventMetadata = { correlation: lease.runId, causation: leased.eventId, actor: 'ingest' };
  if (await hasEnded(store, lease.runId)) return;

  const { job, version } = await load(store, lease.childJobId);
  const order = await orderFor(parts, lease);
  const started = start(job, lease, { ...order, at: new Date().toISOString() });
  if (!started.ok && started.refusal.code === 'Completed' && lease.fence > job.fence) {
    // Done under an earlier lease that was released before its completion was heard: this one would be held for nothing.
    const chunks = new ChunkLog({ store, childJobId: lease.childJobId, job, version, metadata });
    const nothing = { readBytes: 0, resumedBytes: totalLength(receivedOf(job)), milliseconds: 0 };
    chunks.add(completed(job, lease, { ...nothing, at: new Date().toISOString() }));
    return await chunks.flush();
  }
  if (!started.ok) {
    log.info(
      { childJob: lease.childJobId, why: started.refusal.message },
      'a lease has nothing to do any more',
    );
    return;
  }
  const received = order.kind === job.kind ? receivedOf(job) : [];
  const chunks = new ChunkLog({ store, childJobId: lease.childJobId, job, version, metadata });
  const begun = performance.now();
  try {
    chunks.add(started.value);
    await chunks.flush();
    const readBytes = await receivePortion({
      ...parts,
      lease,
      kind: order.kind,
      received,
      signal,
      onReceived: (piece) => chunks.add(chunkReceived(lease, piece)),
    });
    await chunks.flush();
    const milliseconds = Math.round(performance.now() - begun);
    const { resumedBytes } = started.value.data;
    chunks.add(
      completed(chunks.job, lease, { readBytes, resumedBytes, milliseconds, at: new Date().toISOString() }),
    );
    await chunks.flush();
  } catch (error) {
    await endBadly(chunks, lease, error, signal, log);
  }
}

/** What was received stays received: it is appended even now. Stopping the service is no interruption: the lease goes on. */
async function endBadly(
  chunks: ChunkLog,
  lease: Lease,
  error: unknown,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  if (error instanceof Superseded) {
    log.info({ childJob: lease.childJobId, why: error.message }, 'another attempt went on');
    return;
  }
  await chunks.flush();
  if (signal.aborted) throw error;
  const reason = describeError(error);
  log.warn(
    { childJob: lease.childJobId, attempt: lease.attempt, error: reason },
    'a child job was interrupted',
  );
  chunks.add(interrupted(lease, reason, isWorthAnotherPort(error)));
  await chunks.flush();
}

/**
 * A port that speaks no NBD may be a proxy's serial line: it knows no connections, and what a client that died was still being told
 * is the first that the next one reads. Another port, or the same a moment later, speaks as it should; attempts are bounded.
 */
const isWorthAnotherPort = (error: unknown): boolean =>
  !isPermanent(error) || hasCode(error, 'NbdProtocolViolation');

/** The message will not be tried again: the lease is given back as an interruption, and the pool decides what next. */
export async function giveUpChildJob(
  { store }: IngestParts,
  leased: Recorded<'PortsLeased'>,
  error: unknown,
): Promise<void> {
  const lease = leased.data;
  if (lease.purpose !== 'backup' || (await hasEnded(store, lease.runId))) return;
  const { job, version } = await load(store, lease.childJobId);
  if (job.state === 'completed' || job.fence > lease.fence) return;
  const metadata: EventMetadata = { correlation: lease.runId, causation: leased.eventId, actor: 'ingest' };
  const chunks = new ChunkLog({ store, childJobId: lease.childJobId, job, version, metadata });
  chunks.add(interrupted(lease, describeError(error), isWorthAnotherPort(error)));
  await chunks.flush();
}

async function load(
  store: EventStore,
  childJobId: string,
): Promise<{ job: ReturnType<typeof newChildJob>; version: number }> {
  const job = newChildJob();
  let version = 0;
  for (let more = true; more; ) {
    const page = await store.readStreamPage(childJobStream(childJobId), version);
    for (const event of page.events) evolve(job, event);
    ({ version, more } = page);
  }
  return { job, version };
}

/**
 * An incremental builds on its parent's manifest. Where that is not in this repository any more the disk is read as a full,
 * and the reason is on the record: a restore point that cannot be restored is never made, and the chain heals itself.
 */
async function orderFor(
  { store, repository }: IngestParts,
  lease: Lease,
): Promise<{ kind: 'full' | 'incremental'; kindReason: string | null }> {
  if (lease.kind === 'full') return { kind: 'full', kindReason: null };
  const parent = await parentOf(store, lease.runId);
  if (parent === null) return { kind: 'full', kindReason: 'The plan names no parent restore point.' };
  const stored = await repository.readManifest(parent.backupId).catch((error: unknown) => {
    // A repository that is out of reach for a moment is no reason to read a disk in two ways.
    if (!isPermanent(error)) throw error;
    return describeError(error);
  });
  if (typeof stored === 'string')
    return { kind: 'full', kindReason: `The parent's manifest cannot be read: ${stored}` };
  if (stored?.digest === parent.manifestDigest) return { kind: 'incremental', kindReason: null };
  const what = stored === undefined ? 'is not in the repository' : 'has another digest than the log says';
  return { kind: 'full', kindReason: `The manifest of the parent restore point ${parent.backupId} ${what}.` };
}

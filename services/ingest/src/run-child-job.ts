/**
 * Carries out one lease: starts or resumes the child job, receives its portion, and says how it ended. Called once a
 * message, and again when a message comes again: what the stream says decides, so a repeat resumes or does nothing.
 */
import type { EventMetadata, Recorded } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { describeError, type Extent, hasCode, isPermanent, totalLength } from '@backhaul/kernel';
import type { WorkEnd } from '@backhaul/messaging';
import type { Repository } from '@backhaul/repository';
import type { ByteRates } from '@backhaul/service';
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
import { type Order, orderFor } from './order.ts';
import { receivePortion } from './receive-portion.ts';
import { RepositoryGivenUp, type RepositoryPatience, refusalOf } from './repository-patience.ts';
import { end, hasEnded } from './transfer.ts';

export interface IngestParts {
  readonly store: EventStore;
  readonly repository: Repository;
  readonly requestMilliseconds: number;
  readonly rates: ByteRates;
  readonly patience: RepositoryPatience;
  readonly log: Logger;
}

/** `wasTakenBack`: whether the lease has ended meanwhile. `overtaken`: this lease is worked at by somebody else. */
export async function runChildJob(
  parts: IngestParts,
  leased: Recorded<'PortsLeased'>,
  signal: AbortSignal,
  wasTakenBack: () => Promise<boolean> = async () => false,
): Promise<WorkEnd> {
  const lease = leased.data;
  if (lease.purpose !== 'backup') return undefined;
  if (await hasEnded(parts.store, lease.runId)) return undefined;

  try {
    return await runToItsEnd(parts, leased, lease, { signal, wasTakenBack });
  } catch (error) {
    if (!(error instanceof RepositoryGivenUp)) throw error;
    // No other port can mend it, and none is to blame: the backup ends, and all that it holds is given back.
    const refusal = refusalOf(error, lease.vmId);
    const { runId: backupId, hostId, vmId } = lease;
    const failedAt = new Date().toISOString();
    parts.log.error({ childJob: lease.childJobId, reason: refusal.message }, 'a backup was given up');
    await end(
      parts.store,
      { type: 'BackupFailed', data: { backupId, hostId, vmId, refusal, failedAt } },
      metadataOf(leased),
    );
    return undefined;
  }
}

async function runToItsEnd(
  parts: IngestParts,
  leased: Recorded<'PortsLeased'>,
  lease: Lease,
  { signal, wasTakenBack }: Hold,
): Promise<WorkEnd> {
  const ordering = { what: `child job ${lease.childJobId}`, work: () => orderFor(parts, lease) };
  const order = await parts.patience.through(ordering, signal);
  const attempt = await begin(parts, leased, lease, order);
  if (attempt === undefined) return undefined;
  try {
    await carryOut(parts, lease, order, attempt, { signal, wasTakenBack });
    return undefined;
  } catch (error) {
    // Also while it says how it ended: an attempt that failed may have been overtaken before.
    if (!(error instanceof Superseded)) throw error;
    parts.log.info({ childJob: lease.childJobId, why: error.message }, 'another attempt went on');
    const { job } = await load(parts.store, lease.childJobId);
    // Under this very lease, by somebody who was given the same message? Then it is theirs, and comes again should they fail.
    return start(job, lease, { ...order, at: new Date().toISOString() }).ok ? 'overtaken' : undefined;
  }
}

interface Attempt {
  readonly chunks: ChunkLog;
  /** What attempts before received. */
  readonly received: Extent[];
}

interface Hold {
  readonly signal: AbortSignal;
  readonly wasTakenBack: () => Promise<boolean>;
}

async function carryOut(
  parts: IngestParts,
  lease: Lease,
  { kind, damaged }: Order,
  { chunks, received }: Attempt,
  hold: Hold,
): Promise<void> {
  const { signal } = hold;
  const begun = performance.now();
  let readBytes = 0;
  let tries = 0;
  const receive = async (): Promise<void> => {
    // What was received stays so, also before a repository that was full: the next try does not read it again.
    if (tries > 0) await chunks.flush();
    // Whom it waits for may be away from here alone, and another instance long at this lease: then nobody has to give anything up.
    if (tries > 0) await chunks.requireNewest();
    tries += 1;
    await receivePortion({
      ...parts,
      lease,
      ...{ kind, damaged },
      received: tries === 1 ? received : receivedOf(chunks.job),
      signal,
      mayRead: (bytes) => parts.rates.take(lease.hostId, bytes, signal),
      onReceived(piece) {
        readBytes += piece.readBytes;
        chunks.add(chunkReceived(lease, piece));
      },
    });
  };
  const portion = { what: `child job ${lease.childJobId}`, progress: () => readBytes, work: receive };
  try {
    await parts.patience.through(portion, signal);
    await chunks.flush();
    const milliseconds = Math.round(performance.now() - begun);
    const resumedBytes = totalLength(received);
    chunks.add(
      completed(chunks.job, lease, { readBytes, resumedBytes, milliseconds, at: new Date().toISOString() }),
    );
    await chunks.flush();
  } catch (error) {
    if (error instanceof Superseded) throw error;
    await chunks.flush();
    if (error instanceof RepositoryGivenUp) throw error;
    await endBadly(chunks, lease, error, hold, parts.log);
  }
}

/**
 * The log with this lease's attempt begun, and what earlier ones received; undefined where it has nothing to do any more. An attempt before may
 * say its last word between what is read here and what is appended: then it is decided anew. Taken for the word of a newer one, it
 * would leave a lease that nobody works at and nobody gives back.
 */
async function begin(
  { store, log }: IngestParts,
  leased: Recorded<'PortsLeased'>,
  lease: Lease,
  order: Order,
): Promise<Attempt | undefined> {
  const { childJobId } = lease;
  for (;;) {
    const { job, version } = await load(store, childJobId);
    const at = new Date().toISOString();
    const started = start(job, lease, { ...order, at });
    const isDoneBefore = !started.ok && started.refusal.code === 'Completed' && lease.fence > job.fence;
    if (!started.ok && !isDoneBefore) {
      log.info({ childJob: childJobId, why: started.refusal.message }, 'a lease has nothing to do any more');
      return undefined;
    }
    const received = order.kind === job.kind ? receivedOf(job) : [];
    const chunks = new ChunkLog({ store, childJobId, job, version, metadata: metadataOf(leased) });
    // Done under an earlier lease that was released before its completion was heard: this one would be held for nothing.
    const nothing = { readBytes: 0, resumedBytes: totalLength(receivedOf(job)), milliseconds: 0 };
    chunks.add(started.ok ? started.value : completed(job, lease, { ...nothing, at }));
    try {
      await chunks.flush();
      return started.ok ? { chunks, received } : undefined;
    } catch (error) {
      if (!(error instanceof Superseded)) throw error;
    }
  }
}

/**
 * What was received stays received: it is appended even now. Stopping the service is no interruption: the lease goes on. Nor is it one that
 * the ports were taken back: the pool knows why, and holds nothing against the job.
 */
async function endBadly(
  chunks: ChunkLog,
  lease: Lease,
  error: unknown,
  { signal, wasTakenBack }: Hold,
  log: Logger,
): Promise<void> {
  if (await wasTakenBack()) {
    log.info(
      { childJob: lease.childJobId, attempt: lease.attempt },
      'the ports of a child job were taken back',
    );
    return;
  }
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
  const chunks = new ChunkLog({
    store,
    childJobId: lease.childJobId,
    job,
    version,
    metadata: metadataOf(leased),
  });
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

const metadataOf = (leased: Recorded<'PortsLeased'>): EventMetadata => ({
  correlation: leased.data.runId,
  causation: leased.eventId,
  actor: 'ingest',
});

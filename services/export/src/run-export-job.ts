/**
 * Carries out one lease: starts or resumes the data stream, exports its portion, and says how it ended. Called once a
 * message, and again when a message comes again: what the stream says decides, so a repeat resumes or does nothing.
 */
import type { Recorded } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { totalLength } from '@backhaul/kernel';
import type { WorkEnd } from '@backhaul/messaging';
import { isRepositoryFault, type Repository, requireRepository } from '@backhaul/repository';
import type { ByteRates } from '@backhaul/service';
import type { Logger } from 'pino';
import {
  chunkExported,
  completed,
  completedAgain,
  exportedOf,
  interrupted,
  type Lease,
  start,
} from './export-job.ts';
import { ExportLog, Superseded } from './export-log.ts';
import { exportPortion } from './export-portion.ts';
import { codeOf, isWorthAnotherPort, reasonOf } from './reasons.ts';
import { causedBy, loadRecovery, planOf } from './recovery.ts';
import { plannedDisk } from './restore-point.ts';

export interface ExportParts {
  readonly store: EventStore;
  readonly repository: Pick<
    Repository,
    'location' | 'repositoryId' | 'readManifest' | 'readSegments' | 'holdChunk'
  >;
  readonly requestMilliseconds: number;
  readonly rates: ByteRates;
  readonly log: Logger;
}

/**
 * The same news tells of child jobs of backups, which are others' work. `wasTakenBack`: whether the lease has ended meanwhile.
 * `overtaken`: this lease is worked at by somebody else.
 */
export async function runExportJob(
  parts: ExportParts,
  leased: Recorded<'PortsLeased'>,
  signal: AbortSignal,
  wasTakenBack: () => Promise<boolean> = async () => false,
): Promise<WorkEnd> {
  const lease = leased.data;
  if (lease.purpose !== 'recovery') return undefined;
  if ((await loadRecovery(parts.store, lease.runId)).recovery.ended) return undefined;

  const stream = await begin(parts, leased, lease);
  if (stream === undefined) return undefined;
  try {
    await carryOut(parts, stream, lease, { signal, wasTakenBack });
    return undefined;
  } catch (error) {
    // Also while it says how it ended: an attempt that failed may have been overtaken before.
    if (!(error instanceof Superseded)) throw error;
    parts.log.info({ childJob: lease.childJobId, why: error.message }, 'another attempt went on');
    const { job } = await ExportLog.open(parts.store, lease.childJobId, causedBy(leased, lease.runId));
    // Under this very lease, by somebody who was given the same message? Then it is theirs, and comes again should they fail.
    return start(job, lease, now()).ok ? 'overtaken' : undefined;
  }
}

interface Hold {
  readonly signal: AbortSignal;
  readonly wasTakenBack: () => Promise<boolean>;
}

async function carryOut(
  parts: ExportParts,
  stream: ExportLog,
  lease: Lease,
  { signal, wasTakenBack }: Hold,
): Promise<void> {
  const begun = performance.now();
  const resumedBytes = totalLength(exportedOf(stream.job));
  try {
    const portion = await exportAsPlanned(parts, stream, lease, signal);
    const milliseconds = Math.round(performance.now() - begun);
    await stream.append(completed(stream.job, lease, { ...portion, resumedBytes, milliseconds, at: now() }));
  } catch (error) {
    if (error instanceof Superseded) throw error;
    if (await wasTakenBack()) {
      // The pool knows why, and holds nothing against the data stream. What was confirmed stays confirmed.
      parts.log.info({ childJob: lease.childJobId }, 'the ports of a data stream were taken back');
      return;
    }
    await endBadly(parts, stream, lease, error, signal);
  }
}

/**
 * The stream with this lease's attempt begun; undefined where it has nothing to do any more. An attempt before may say its last word between
 * what is read here and what is appended: then it is decided anew. Taken for the word of a newer one, it would leave a lease that
 * nobody works at and nobody gives back.
 */
async function begin(
  { store, log }: ExportParts,
  leased: Recorded<'PortsLeased'>,
  lease: Lease,
): Promise<ExportLog | undefined> {
  for (;;) {
    const stream = await ExportLog.open(store, lease.childJobId, causedBy(leased, lease.runId));
    const started = start(stream.job, lease, now());
    const isDoneBefore =
      !started.ok && started.refusal.code === 'Completed' && lease.fence > stream.job.fence;
    if (!started.ok && !isDoneBefore) {
      const why = started.refusal.message;
      log.info({ childJob: lease.childJobId, why }, 'a lease has nothing to do any more');
      return undefined;
    }
    try {
      await stream.append(started.ok ? started.value : completedAgain(stream.job, lease, now()));
      return started.ok ? stream : undefined;
    } catch (error) {
      if (!(error instanceof Superseded)) throw error;
    }
  }
}

async function exportAsPlanned(
  { store, repository, requestMilliseconds, rates }: ExportParts,
  stream: ExportLog,
  lease: Lease,
  signal: AbortSignal,
) {
  const plan = await planOf(store, lease.runId);
  const disk = await plannedDisk(repository, plan, lease.diskId);
  return await exportPortion({
    lease,
    disk,
    repository,
    requestMilliseconds,
    signal,
    mayWrite: (bytes) => rates.take(lease.hostId, bytes, signal),
    exported: exportedOf(stream.job),
    verify: plan.verify,
    onExported: (pieces) => stream.append(...pieces.map((piece) => chunkExported(lease, piece))),
  });
}

/**
 * Stopping the service is no interruption: the lease goes on. So it does while the repository is out of reach: thrown, the message is
 * tried again later.
 */
async function endBadly(
  { repository, log }: ExportParts,
  stream: ExportLog,
  lease: Lease,
  error: unknown,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) throw error;
  if (isRepositoryFault(error)) throw error;
  if (codeOf(error) === 'RestorePointDamaged') await requireRepository(repository);
  const reason = reasonOf(error);
  log.warn(
    { childJob: lease.childJobId, attempt: lease.attempt, error: reason },
    'a data stream was interrupted',
  );
  await stream.append(interrupted(lease, reason, isWorthAnotherPort(error)));
}

/** The message will not be tried again: the lease is given back as an interruption, and the pool decides what next. */
export async function giveUpExportJob(
  { store }: Pick<ExportParts, 'store'>,
  leased: Recorded<'PortsLeased'>,
  error: unknown,
): Promise<void> {
  const lease = leased.data;
  if (lease.purpose !== 'recovery') return;
  if ((await loadRecovery(store, lease.runId)).recovery.ended) return;
  const stream = await ExportLog.open(store, lease.childJobId, causedBy(leased, lease.runId));
  if (stream.job.state === 'completed' || stream.job.fence > lease.fence) return;
  await stream.append(interrupted(lease, reasonOf(error), isWorthAnotherPort(error)));
}

const now = (): string => new Date().toISOString();

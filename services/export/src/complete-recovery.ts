/**
 * Says that all of a recovery is exported once every data stream is in, and that it is completed once the host has made a VM of the
 * disks. Killed at any line it can be done again: what is said follows from the log alone.
 */
import type { Recorded, RecoveryPlan, RecoveryTotals } from '@backhaul/contracts';
import { type EventStore, type EventTransaction, eventsOfRun } from '@backhaul/event-store';
import { describeError } from '@backhaul/kernel';
import {
  causedBy,
  dataExported,
  decideRecovery,
  loadRecovery,
  planOf,
  recoveryCompleted,
  recoveryFailed,
  recoveryFilled,
} from './recovery.ts';

interface Parts {
  readonly store: EventStore;
}

/** Throws what went wrong; what can be tried again and what cannot is told apart by those who call. */
export async function sayExported({ store }: Parts, cause: Recorded<'ExportJobCompleted'>): Promise<void> {
  const { recoveryId } = cause.data;
  const { recovery } = await loadRecovery(store, recoveryId);
  if (recovery.ended || recovery.exported !== undefined) return;
  const plan = await planOf(store, recoveryId);
  const totals = await totalsOf(store, plan, cause.position);
  if (totals === undefined) return;
  // The same command whichever data stream was the last that somebody looked at.
  const command = { commandId: `exported ${recoveryId}`, metadata: causedBy(cause, recoveryId) };
  await decideRecovery(store, recoveryId, command, (standing) =>
    dataExported(standing, plan, totals, new Date().toISOString()),
  );
}

/** Undefined while a data stream is open. Of one that was completed again under a newer lease the last word counts. */
async function totalsOf(
  store: EventStore,
  plan: RecoveryPlan,
  upTo: number,
): Promise<RecoveryTotals | undefined> {
  const done = new Map<string, Recorded<'ExportJobCompleted'>['data']>();
  for await (const { data } of eventsOfRun(store, plan.recoveryId, 'ExportJobCompleted', upTo))
    done.set(data.childJobId, data);
  if (plan.childJobs.some(({ childJobId }) => !done.has(childJobId))) return undefined;
  const diskBytes = plan.disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const totals = { diskBytes, writtenBytes: 0, zeroBytes: 0, verifiedBytes: 0, chunks: 0 };
  for (const job of done.values()) {
    totals.writtenBytes += job.writtenBytes + job.resumedBytes;
    totals.zeroBytes += job.zeroBytes;
    totals.verifiedBytes += job.verifiedBytes;
    totals.chunks += job.chunks;
  }
  return totals;
}

/** It will not be tried again: the recovery ends with the reason, so that nobody waits for it. */
export async function giveUpSaying(
  { store }: Parts,
  cause: Recorded<'ExportJobCompleted'>,
  error: unknown,
): Promise<void> {
  const { recoveryId, hostId, vmId } = cause.data;
  const refusal = {
    code: 'ExportNotConcluded',
    message: `Whether all of vm ${vmId} is exported could not be told: ${describeError(error)}.`,
    wayOut: 'Mend the cause named, then start the recovery again.',
  };
  const command = { commandId: `fail ${cause.eventId}`, metadata: causedBy(cause, recoveryId) };
  await decideRecovery(store, recoveryId, command, (standing) =>
    recoveryFailed(
      standing,
      { recoveryId, hostId, vmId, refusal, alternative: null },
      new Date().toISOString(),
    ),
  );
}

/** The VM is there, whole, at its name: the last word of a recovery. One that runs before it is whole is whole when it is filled. */
export async function completeRecovery(
  transaction: EventTransaction,
  cause: Recorded<'TargetKept' | 'TargetFilled'>,
): Promise<void> {
  const recoveryId = cause.data.runId;
  const plan = await planOf(transaction, recoveryId);
  const isInstant = plan.instant !== undefined;
  if (isInstant !== (cause.type === 'TargetFilled')) return;
  const command = { commandId: `complete ${cause.eventId}`, metadata: causedBy(cause, recoveryId) };
  await decideRecovery(transaction, recoveryId, command, (standing) =>
    cause.type === 'TargetKept'
      ? recoveryCompleted(standing, plan, cause.data, cause.recordedAt)
      : recoveryFilled(standing, plan, cause.recordedAt),
  );
}

/**
 * How a recovery ends that the host could not carry further: RunFailed brings the host's reason, and where it was one of ours that ended a
 * data stream for good, it is told in full. For a restore point that is damaged another is looked for, older and whole.
 */
import type { EventData, Recorded, RecoveryPlan } from '@backhaul/contracts';
import { streamName } from '@backhaul/contracts';
import { type EventStore, eventsOfRun } from '@backhaul/event-store';
import { describeError, withDeadline } from '@backhaul/kernel';
import { newestWhole, type Repository, requireRepository } from '@backhaul/repository';
import type { Logger } from 'pino';
import { mountStream } from './mount.ts';
import { type LastingCode, readReason } from './reasons.ts';
import { causedBy, decideRecovery, loadRecovery, planOf, recoveryFailed } from './recovery.ts';

export interface FailureParts {
  readonly store: EventStore;
  readonly repository: Pick<
    Repository,
    'location' | 'repositoryId' | 'listManifests' | 'readSegments' | 'readChunk'
  >;
  /** How long another restore point is looked for. */
  readonly alternativeSeconds: number;
  readonly log: Logger;
}

type Alternative = EventData<'RecoveryFailed'>['alternative'];

/** Called once a message, and again when it comes again. Runs of backups are none of its business. */
export async function failRecovery(
  parts: FailureParts,
  cause: Recorded<'RunFailed'>,
  signal: AbortSignal,
): Promise<void> {
  const { runId, purpose, refusal } = cause.data;
  if (purpose !== 'recovery' || (await loadRecovery(parts.store, runId)).recovery.ended) return;
  const plan = await planOf(parts.store, runId);
  const reason =
    (await damageAt(parts.store, runId)) ?? (await reasonOfOurs(parts.store, runId, cause.position));
  if (reason?.code !== 'RestorePointDamaged') {
    const told = reason === undefined ? refusal : { ...reason, wayOut: WAYS_OUT[reason.code](plan) };
    return await end(parts, cause, told, null);
  }
  const { alternative, wayOut } = await lookForAnother(parts, plan, signal);
  await end(parts, cause, { ...reason, wayOut }, alternative);
}

/** The message will not be tried again: the recovery ends with what the host said. */
export async function giveUpFailing(parts: FailureParts, cause: Recorded<'RunFailed'>): Promise<void> {
  if (cause.data.purpose !== 'recovery') return;
  await end(parts, cause, cause.data.refusal, null);
}

async function end(
  { store }: FailureParts,
  cause: Recorded<'RunFailed'>,
  refusal: EventData<'RecoveryFailed'>['refusal'],
  alternative: Alternative,
): Promise<void> {
  const { runId: recoveryId, hostId, vmId } = cause.data;
  const command = { commandId: `fail ${cause.eventId}`, metadata: causedBy(cause, recoveryId) };
  await decideRecovery(store, recoveryId, command, (standing) =>
    recoveryFailed(standing, { recoveryId, hostId, vmId, refusal, alternative }, cause.recordedAt),
  );
}

const WAYS_OUT: Record<LastingCode, (plan: RecoveryPlan) => string> = {
  RestorePointDamaged: () => 'Recover another restore point.',
  ReadBackDiffers: ({ hostId }) =>
    `Check the storage of host ${hostId}, which did not hold what was written to it, then start the recovery again.`,
  NoSpace: ({ hostId }) => `Make room at host ${hostId}, then start the recovery again.`,
};

/** What a VM that runs from the restore point could not read of it. */
async function damageAt(
  store: EventStore,
  recoveryId: string,
): Promise<{ code: LastingCode; message: string } | undefined> {
  for await (const event of store.readStream(mountStream(recoveryId))) {
    if (event.type !== 'MountReadFailed') continue;
    const { diskId, reason } = event.data;
    return { code: 'RestorePointDamaged', message: `Disk ${diskId} cannot be read: ${reason}.` };
  }
  return undefined;
}

/** The newest reason for which a data stream of this recovery ended for good, where it is one that we know. */
async function reasonOfOurs(
  store: EventStore,
  recoveryId: string,
  upTo: number,
): Promise<{ code: LastingCode; message: string } | undefined> {
  let newest: { code: LastingCode; message: string } | undefined;
  for await (const { data } of eventsOfRun(store, recoveryId, 'ExportJobInterrupted', upTo))
    if (!data.retryable) newest = readReason(data.reason) ?? newest;
  return newest;
}

/** The recovery fails in any case: a look that goes wrong, or takes too long, is told and stops nothing. */
async function lookForAnother(
  { store, repository, alternativeSeconds, log }: FailureParts,
  plan: RecoveryPlan,
  signal: AbortSignal,
): Promise<{ alternative: Alternative; wayOut: string }> {
  try {
    const asked = await askedOf(store, plan.recoveryId);
    if (asked === undefined) return { alternative: null, wayOut: 'Recover another restore point.' };
    // One that is out of reach has no restore points, and none of them is lost.
    await requireRepository(repository);
    const whole = await withDeadline('Looking for one', alternativeSeconds * 1000, (deadline) =>
      newestWhole({
        repository,
        ...asked.source,
        before: asked.restorePoint.takenAt,
        diskIds: plan.disks.map(({ diskId }) => diskId),
        signal: AbortSignal.any([deadline, signal]),
      }),
    );
    if (whole === undefined)
      return {
        alternative: null,
        wayOut: `No older restore point of vm ${asked.source.vmId} is whole. Run "backhaul verify --deep", which finds and notes every damaged chunk, then take a backup where the VM still runs: it stores those anew of which the VM has the bytes, and is whole itself.`,
      };
    const { backupId, takenAt } = whole.manifest;
    return {
      alternative: { backupId, takenAt },
      wayOut: `Recover backup ${backupId} of ${takenAt}: it is the newest older restore point that is whole.`,
    };
  } catch (error) {
    if (signal.aborted) throw error;
    const why = describeError(error);
    log.warn({ recoveryId: plan.recoveryId, error: why }, 'no other restore point could be looked for');
    const wayOut = `Recover an older restore point; whether one is whole could not be told: ${why}.`;
    return { alternative: null, wayOut };
  }
}

async function askedOf(
  store: EventStore,
  recoveryId: string,
): Promise<EventData<'RecoveryTriggered'> | undefined> {
  for await (const event of store.readStream(streamName('recovery', recoveryId)))
    if (event.type === 'RecoveryTriggered') return event.data;
  return undefined;
}

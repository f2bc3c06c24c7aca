/** Requests for a backup, and for its cancellation: decided, recorded and answered. The same request again changes nothing. */
import type { Answer, BackupRequested, EventData, Origin } from '@backhaul/contracts';
import { type EventTransaction, untilAppended } from '@backhaul/event-store';
import { derivedId, fold, ok, type Refusal, type Result } from '@backhaul/kernel';
import { answerTo } from './core/answers.ts';
import { backup, backupStream, contentOf } from './core/backup.ts';
import { backupIdOf, cancelBackup } from './core/turns.ts';
import { vm, vmStream } from './core/vm.ts';
import { appendsOf, type Cause, type Desk } from './subjects.ts';

/** A request that was understood. */
export async function takeRequest(
  desk: Desk,
  request: BackupRequested,
  origin: Origin,
  cause: Cause,
  transaction?: EventTransaction,
): Promise<Answer> {
  const { requestId } = request;
  const backupId = backupIdOf(requestId);
  const context = {
    commandId: derivedId('RequestBackup', requestId, contentOf(request)),
    metadata: { ...cause, correlation: backupId },
  };
  const answer = await untilAppended(transaction ?? desk.store, context, async () => {
    const { subjects, decision } = await desk.decideRequest(request, origin, transaction);
    if (!decision.ok) return decision;
    return ok({
      appends: appendsOf(subjects, decision.value),
      onAppended: async (_, duplicate): Promise<Answer> => {
        const state = duplicate
          ? (await desk.backups.load(backupStream(backupId), transaction)).state
          : fold(backup.evolve, subjects.backup.state, decision.value.backup);
        return answerTo(requestId, backupId, state);
      },
    });
  });
  if (answer.ok) return answer.value;
  // The id belongs to another request, and so does its stream: this one is kept on a stream of its own.
  const refused = {
    backupId: derivedId('backup', requestId, contentOf(request)),
    origin,
    refusal: answer.refusal,
    request: JSON.stringify(request),
  };
  return await keepRefused(desk, refused, cause, transaction);
}

/** Keeps what was asked and why it will not be done. */
export async function keepRefused(
  desk: Desk,
  refused: Omit<EventData<'BackupRefused'>, 'refusedAt'>,
  cause: Cause,
  transaction?: EventTransaction,
): Promise<Answer> {
  const { backupId, origin, refusal } = refused;
  await desk.backups.execute(
    backupStream(backupId),
    { type: 'RefuseBackup', refused: { ...refused, refusedAt: desk.now() } },
    { commandId: derivedId('RefuseBackup', backupId), metadata: { ...cause, correlation: backupId } },
    transaction,
  );
  return { requestId: origin.requestId, outcome: 'refused', backupId, refusal };
}

/** `told`: the answer for whoever had asked for the backup, when it is cancelled by this very call. */
export async function takeCancellation(
  desk: Desk,
  command: { backupId: string; cancelledBy: string; reason: string },
  cause: Cause,
  transaction?: EventTransaction,
): Promise<Result<{ readonly told: Answer | undefined }>> {
  const { backupId } = command;
  const context = {
    commandId: derivedId('CancelBackup', backupId),
    metadata: { ...cause, correlation: backupId },
  };
  return await untilAppended<{ told: Answer | undefined }, Refusal>(
    transaction ?? desk.store,
    context,
    async () => {
      const known = await desk.backups.load(backupStream(backupId), transaction);
      if (known.state.state !== 'queued') {
        // Nothing waits at any VM: done already, or refused for what the backup is.
        const decision = cancelBackup(known.state, vm.initialState, command);
        return decision.ok ? ok({ appends: [], onAppended: () => ({ told: undefined }) }) : decision;
      }
      const { hostId, vmId, origin } = known.state.asked;
      const stream = vmStream(hostId, vmId);
      const subjects = {
        backupId,
        vmStream: stream,
        backup: known,
        vm: await desk.vms.load(stream, transaction),
      };
      const decision = cancelBackup(known.state, subjects.vm.state, command);
      if (!decision.ok) return decision;
      return ok({
        appends: appendsOf(subjects, decision.value),
        onAppended: () => {
          const state = fold(backup.evolve, known.state, decision.value.backup);
          return { told: answerTo(origin.requestId, backupId, state) };
        },
      });
    },
  );
}

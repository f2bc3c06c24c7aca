/**
 * The end of a recovery that was cancelled after it had started: said once, in the stream that has one end. From where all data is written the
 * host makes a VM of it, and that is not taken back; nor is a VM that runs already and somebody may work in (ADR 15).
 */
import { CANCELLED, type Recorded, streamName } from '@backhaul/contracts';
import { type EventStore, eventsOfRun } from '@backhaul/event-store';
import { causedBy, decideRecovery, recoveryFailed } from './recovery.ts';

export async function cancelRecovery(
  { store }: { readonly store: EventStore },
  cause: Recorded<'RecoveryCancelOrdered'>,
): Promise<void> {
  const { recoveryId, hostId, vmId, cancelledBy, reason } = cause.data;
  const planned = await store.readStreamPage(streamName('plan', recoveryId));
  if (planned.events.some(({ type }) => type === 'RecoveryPlanRefused')) return;
  for await (const _ of eventsOfRun(store, recoveryId, 'TargetKept', cause.position)) return;
  const refusal = {
    code: CANCELLED.recovery,
    message: `The recovery of vm ${vmId} was cancelled by ${cancelledBy}: ${reason}.`,
    wayOut: 'Nothing of it is left at the host: ask for another recovery.',
  };
  const failed = { recoveryId, hostId, vmId, refusal, alternative: null };
  const command = { commandId: `cancel ${cause.eventId}`, metadata: causedBy(cause, recoveryId) };
  await decideRecovery(store, recoveryId, command, (standing) =>
    standing.exported === undefined ? recoveryFailed(standing, failed, cause.recordedAt) : [],
  );
}

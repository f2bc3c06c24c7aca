/**
 * The end of a backup that was cancelled after it had started, at whatever stage it is: said once, in the stream that has one end. Where the
 * backup has completed first it stays completed, and where its plan was refused there is nothing to end.
 */
import { CANCELLED, type Recorded, streamName } from '@backhaul/contracts';
import type { EventTransaction } from '@backhaul/event-store';
import { end } from './transfer.ts';

export async function cancelBackup(
  transaction: EventTransaction,
  cause: Recorded<'BackupCancelOrdered'>,
): Promise<void> {
  const { backupId, hostId, vmId, cancelledBy, reason } = cause.data;
  const planned = await transaction.readStreamPage(streamName('plan', backupId));
  if (planned.events.some(({ type }) => type === 'PlanRefused')) return;
  const refusal = {
    code: CANCELLED.backup,
    message: `The backup of vm ${vmId} was cancelled by ${cancelledBy}: ${reason}.`,
    wayOut: 'Start another backup: the next one builds on the newest restore point as this one did.',
  };
  await end(
    transaction,
    { type: 'BackupFailed', data: { backupId, hostId, vmId, refusal, failedAt: cause.recordedAt } },
    { ...cause.metadata, correlation: backupId, causation: cause.eventId, actor: 'ingest' },
  );
}

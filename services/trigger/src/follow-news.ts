/** What other services say about a backup, and what the trigger itself says about a turn, carried on to the next decision. */
import type { Recorded } from '@backhaul/contracts';
import type { EventTransaction } from '@backhaul/event-store';
import { derivedId, Fault } from '@backhaul/kernel';
import { backupStream } from './core/backup.ts';
import { type NewsOfBackup, react } from './core/reactions.ts';
import { passTurn } from './core/turns.ts';
import { vmStream } from './core/vm.ts';
import { appendsOf, causeOf, type Desk } from './subjects.ts';

/** The id of the backup's request, or undefined when nobody here asked for it. */
export async function noteNews(
  desk: Desk,
  news: Recorded & NewsOfBackup,
  transaction: EventTransaction,
): Promise<string | undefined> {
  const { state } = await desk.backups.load(backupStream(news.data.backupId), transaction);
  if (!('asked' in state)) return undefined;
  const { hostId, vmId, backupId, origin } = state.asked;
  await desk.vms.execute(
    vmStream(hostId, vmId),
    react(news, state.asked),
    {
      commandId: derivedId('NoteNews', news.eventId),
      metadata: { ...causeOf(news), correlation: backupId },
    },
    transaction,
  );
  return origin.requestId;
}

/**
 * A turn was given back: the backup that waits longest has it now. This is a step of its own, and not part of giving it
 * back, because it belongs to the story (the correlation) of another backup.
 */
export async function passTurnOn(
  desk: Desk,
  released: Recorded<'VmReleased'>,
  transaction: EventTransaction,
): Promise<void> {
  const { hostId, vmId } = released.data;
  const ofVm = await desk.vms.load(vmStream(hostId, vmId), transaction);
  const next = ofVm.state.waiting[0];
  if (next === undefined) return;
  const ofBackup = await desk.backups.load(backupStream(next.backupId), transaction);
  const subjects = {
    backupId: next.backupId,
    vmStream: vmStream(hostId, vmId),
    backup: ofBackup,
    vm: ofVm,
  };
  const appends = appendsOf(subjects, passTurn(ofBackup.state, ofVm.state));
  if (appends.length === 0) return;
  const appended = await transaction.append(appends, {
    commandId: derivedId('PassTurn', released.eventId),
    metadata: { ...causeOf(released), correlation: next.backupId },
  });
  // Somebody else moved the line: the handler runs again as a whole, and may find another one next.
  if (!appended.ok) throw new Fault(appended.refusal.message, { code: 'VersionConflict' });
}

/** What other services say about a backup, carried on to its VM's turn and to the backup that waits for it. */
import type { Event, Recorded } from '@backhaul/contracts';
import { type EventTransaction, untilAppended } from '@backhaul/event-store';
import { derivedId, ok } from '@backhaul/kernel';
import { backup, backupStream } from './core/backup.ts';
import { type NewsOfBackup, react } from './core/reactions.ts';
import { noteNews } from './core/turns.ts';
import { vmStream } from './core/vm.ts';
import { appendsOf, causeOf, type Desk } from './subjects.ts';

/** The id of the request that had asked for the backup, or undefined when nobody here had. */
export async function followNews(
  desk: Desk,
  news: Recorded & NewsOfBackup,
  transaction: EventTransaction,
): Promise<string | undefined> {
  const { state } = await desk.backups.load(backupStream(news.data.backupId), transaction);
  if (!('asked' in state)) return undefined;
  const { hostId, vmId, backupId, origin } = state.asked;
  const command = react(news, state.asked);
  const context = {
    commandId: derivedId('FollowNews', news.eventId),
    metadata: { ...causeOf(news), correlation: backupId },
    correlationOf: itsOwnBackup,
  };
  await untilAppended(transaction, context, async () => {
    const stream = vmStream(hostId, vmId);
    const ofVm = await desk.vms.load(stream, transaction);
    const next = ofVm.state.waiting[0]?.backupId;
    const ofNext =
      next === undefined
        ? { state: backup.initialState, version: 0 }
        : await desk.backups.load(backupStream(next), transaction);
    const change = noteNews(ofVm.state, command, ofNext.state);
    if (!change.ok) return change;
    const subjects = { backupId: next ?? backupId, vmStream: stream, backup: ofNext, vm: ofVm };
    return ok({ appends: appendsOf(subjects, change.value), onAppended: () => undefined });
  });
  return origin.requestId;
}

/** The end of one backup and the start of the next stand in one append, and each belongs to its own story. */
const itsOwnBackup = ({ data }: Event): string | undefined =>
  'backupId' in data ? data.backupId : undefined;

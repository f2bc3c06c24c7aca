/** What other services say about a backup or a recovery, carried on to its VM's turn and to whatever waits for it. */
import type { Event, Recorded } from '@backhaul/contracts';
import { type EventTransaction, untilAppended } from '@backhaul/event-store';
import { derivedId, invariant, ok } from '@backhaul/kernel';
import { aboutWhich, type NewsOfRun, react } from './core/reactions.ts';
import { run, runIdOf, runStream } from './core/run.ts';
import { nextAfter, noteNews } from './core/turns.ts';
import { vmStream } from './core/vm.ts';
import { appendsOf, causeOf, type Desk } from './subjects.ts';

/** The id of the request that had asked for the run, or undefined when nobody here had. */
export async function followNews(
  desk: Desk,
  news: Recorded & NewsOfRun,
  transaction: EventTransaction,
): Promise<string | undefined> {
  const { purpose, runId } = aboutWhich(news);
  const ofRun = runStream(purpose, runId);
  const { state } = await desk.runs.load(ofRun, transaction);
  if (!('asked' in state)) return undefined;
  const { hostId, vmId, origin } = state.asked;
  const command = react(news, { hostId, vmId, runId });
  const context = {
    commandId: derivedId('FollowNews', news.eventId),
    metadata: { ...causeOf(news), correlation: runId },
    correlationOf: itsOwnRun,
  };
  const followed = await untilAppended(transaction, context, async () => {
    const ofVm = await desk.vms.load(vmStream(hostId, vmId), transaction);
    const next = nextAfter(ofVm.state, command);
    const ofNext = next === undefined ? ofRun : runStream(next.purpose, runIdOf(next));
    const subjects = {
      runStream: ofNext,
      vmStream: vmStream(hostId, vmId),
      run:
        next === undefined
          ? { state: run.initialState, version: 0 }
          : await desk.runs.load(ofNext, transaction),
      vm: ofVm,
    };
    const change = noteNews(ofVm.state, command, subjects.run.state);
    if (!change.ok) return change;
    return ok({ appends: appendsOf(subjects, change.value), onAppended: () => undefined });
  });
  invariant(followed.ok, `What has happened to ${purpose} ${runId} is noted, and never refused`);
  return origin.requestId;
}

/** The end of one run and the start of the next stand in one append, and each belongs to its own story. A recovery names a backup, too. */
const itsOwnRun = ({ data }: Event): string | undefined => {
  if ('runId' in data) return data.runId;
  if ('recoveryId' in data) return data.recoveryId;
  return 'backupId' in data ? data.backupId : undefined;
};

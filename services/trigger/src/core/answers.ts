/** What the requester is told: at once, from where the backup or the recovery stands; and again when it has ended. */
import type { Answer } from '@backhaul/contracts';
import { aboutWhich, type NewsOfRun } from './reactions.ts';
import { cancelled, type Run, type RunName } from './run.ts';

/** The same request again gets the same answer, unless what it asked for was cancelled or has ended meanwhile. */
export function answerTo(requestId: string, name: RunName, state: Run): Answer {
  const about = { requestId, ...idOf(name) };
  switch (state.state) {
    case 'unknown':
    case 'queued':
    case 'triggered':
    // It has started, and how it ends is told then.
    case 'cancelling':
      return { ...about, outcome: 'accepted' };
    case 'cancelled':
      return { ...about, outcome: 'refused', refusal: cancelled(name, state.reason) };
    case 'refused':
      return { ...about, outcome: 'refused', refusal: state.refusal };
  }
}

/** Undefined for news that are no end of a backup or a recovery. */
export function answerAtTheEnd(requestId: string, news: NewsOfRun): Answer | undefined {
  const about = { requestId, ...idOf(aboutWhich(news)) };
  switch (news.type) {
    case 'BackupCompleted':
    case 'RecoveryCompleted':
      return { ...about, outcome: 'completed' };
    case 'BackupFailed':
    case 'RecoveryFailed':
      return { ...about, outcome: 'failed', refusal: news.data.refusal };
    case 'PlanRefused':
    case 'RecoveryPlanRefused':
      return { ...about, outcome: 'refused', refusal: news.data.refusal };
    case 'RunClosed':
      return undefined;
  }
}

/** By the name that the requester knows it by. */
export const idOf = ({ purpose, runId }: RunName): Pick<Answer, 'backupId' | 'recoveryId'> =>
  purpose === 'backup' ? { backupId: runId } : { recoveryId: runId };

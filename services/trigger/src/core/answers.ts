/** What the requester is told: at once, from where the backup stands; and again when it has ended. */
import type { Answer } from '@backhaul/contracts';
import { type Backup, cancelled } from './backup.ts';
import type { NewsOfBackup } from './reactions.ts';

/** The same request again gets the same answer, unless the backup was cancelled meanwhile. */
export function answerTo(requestId: string, backupId: string, state: Backup): Answer {
  switch (state.state) {
    case 'unknown':
    case 'queued':
    case 'triggered':
      return { requestId, outcome: 'accepted', backupId };
    case 'cancelled':
      return { requestId, outcome: 'refused', backupId, refusal: cancelled(backupId, state.reason) };
    case 'refused':
      return { requestId, outcome: 'refused', backupId, refusal: state.refusal };
  }
}

/** Undefined for news that are no end of the backup. */
export function answerAtTheEnd(requestId: string, news: NewsOfBackup): Answer | undefined {
  const { backupId } = news.data;
  switch (news.type) {
    case 'BackupCompleted':
      return { requestId, outcome: 'completed', backupId };
    case 'BackupFailed':
      return { requestId, outcome: 'failed', backupId, refusal: news.data.refusal };
    case 'PlanRefused':
      return { requestId, outcome: 'refused', backupId, refusal: news.data.refusal };
    case 'RunClosed':
      return undefined;
  }
}

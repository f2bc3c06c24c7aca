/** What the requester is told: at once, from where the backup stands; and again when it has ended. */
import type { Answer, EventData } from '@backhaul/contracts';
import type { Refusal } from '@backhaul/kernel';
import { type Backup, cancelled } from './backup.ts';

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

/** Undefined for a backup that nobody here asked for. */
export function answerAtTheEnd(
  state: Backup,
  end:
    | { readonly type: 'BackupCompleted'; readonly data: EventData<'BackupCompleted'> }
    | {
        readonly type: 'BackupFailed' | 'PlanRefused';
        readonly data: { backupId: string; refusal: Refusal };
      },
): Answer | undefined {
  if (!('asked' in state)) return undefined;
  const { requestId } = state.asked.origin;
  const { backupId } = end.data;
  switch (end.type) {
    case 'BackupCompleted':
      return { requestId, outcome: 'completed', backupId };
    case 'BackupFailed':
      return { requestId, outcome: 'failed', backupId, refusal: end.data.refusal };
    case 'PlanRefused':
      return { requestId, outcome: 'refused', backupId, refusal: end.data.refusal };
  }
}

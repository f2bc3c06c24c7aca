/** What the other services' news asks of a VM's turn. */
import { type Event, isCancellation } from '@backhaul/contracts';
import { unreachable } from '@backhaul/kernel';
import type { RunName } from './run.ts';
import type { VmCommand } from './vm.ts';

export const newsOfRuns = [
  'BackupCompleted',
  'BackupFailed',
  'PlanRefused',
  'RecoveryCompleted',
  'RecoveryFailed',
  'RecoveryPlanRefused',
  'RunClosed',
] as const;
export type NewsOfRun = Event<(typeof newsOfRuns)[number]>;

export const isNewsOfRuns = (event: Event): event is NewsOfRun =>
  (newsOfRuns as readonly string[]).includes(event.type);

/** Which backup or recovery the news is about. */
export function aboutWhich({ type, data }: NewsOfRun): RunName {
  switch (type) {
    case 'BackupCompleted':
    case 'BackupFailed':
    case 'PlanRefused':
      return { purpose: 'backup', runId: data.backupId };
    case 'RecoveryCompleted':
    case 'RecoveryFailed':
    case 'RecoveryPlanRefused':
      return { purpose: 'recovery', runId: data.recoveryId };
    case 'RunClosed':
      return { purpose: data.purpose, runId: data.runId };
  }
}

/** `of`: the turn of the run that the news is about. */
export function react(
  news: NewsOfRun,
  of: { readonly hostId: string; readonly vmId: string; readonly runId: string },
): VmCommand {
  switch (news.type) {
    case 'BackupCompleted': {
      const { restorePoint } = news.data;
      return { type: 'NoteOutcome', of, ending: { purpose: 'backup', outcome: 'completed', restorePoint } };
    }
    case 'BackupFailed':
      return {
        type: 'NoteOutcome',
        of,
        ending: { purpose: 'backup', outcome: outcomeOf(news.data), restorePoint: null },
      };
    case 'RecoveryCompleted':
      return { type: 'NoteOutcome', of, ending: { purpose: 'recovery', outcome: 'completed' } };
    case 'RecoveryFailed':
      return { type: 'NoteOutcome', of, ending: { purpose: 'recovery', outcome: outcomeOf(news.data) } };
    case 'PlanRefused':
    case 'RecoveryPlanRefused':
      return { type: 'NotePlanRefused', of };
    case 'RunClosed':
      return { type: 'NoteRunClosed', of };
    default:
      return unreachable(news);
  }
}

const outcomeOf = ({ refusal }: { readonly refusal: { readonly code: string } }): 'failed' | 'cancelled' =>
  isCancellation(refusal) ? 'cancelled' : 'failed';

/** How far a backup is, folded from its events as they arrive. Pure: drawing is elsewhere. */
import { type BackupTotals, type consoleApi, isCancellation } from '@backhaul/contracts';
import type { Refusal } from '@backhaul/kernel';
import { knownEvent } from './event-line.ts';
import { wayLine } from './way-line.ts';

export interface Progress {
  readonly phase: string;
  readonly bytesToRead: number;
  readonly readBytes: number;
  readonly childJobs: number;
  readonly childJobsDone: number;
  readonly end:
    | { readonly outcome: 'completed'; readonly totals: BackupTotals }
    | { readonly outcome: 'failed' | 'refused' | 'cancelled'; readonly refusal: Refusal }
    | undefined;
}

export const noProgress: Progress = {
  phase: 'asked for',
  bytesToRead: 0,
  readBytes: 0,
  childJobs: 0,
  childJobsDone: 0,
  end: undefined,
};

export function progressAfter(progress: Progress, recorded: consoleApi.RecordedEvent): Progress {
  const event = knownEvent(recorded);
  switch (event?.type) {
    case 'BackupQueued':
      return { ...progress, phase: `waiting for run ${event.data.behind}` };
    case 'BackupTriggered':
      return { ...progress, phase: 'planning' };
    case 'ProxiesCalculated': {
      const { kind, disks, childJobs } = event.data;
      return {
        ...progress,
        phase: `${kind}, ${wayLine(event.data)}`,
        bytesToRead: disks.reduce((sum, disk) => sum + disk.bytesToRead, 0),
        childJobs: childJobs.length,
      };
    }
    case 'ChunkReceived':
      return { ...progress, readBytes: progress.readBytes + event.data.readBytes };
    case 'ChildJobCompleted':
      return { ...progress, childJobsDone: progress.childJobsDone + 1 };
    case 'BackupCompleted':
      return { ...progress, phase: 'completed', end: { outcome: 'completed', totals: event.data.totals } };
    case 'BackupPaused':
      return { ...progress, phase: `paused by ${event.data.pausedBy}: ${event.data.reason}` };
    case 'BackupResumed':
      return { ...progress, phase: 'going on' };
    case 'BackupCancelOrdered':
      return { ...progress, phase: 'ending, because it was cancelled' };
    case 'BackupFailed': {
      const refusal = event.data.refusal as Refusal;
      const outcome = isCancellation(refusal) ? 'cancelled' : 'failed';
      return { ...progress, phase: outcome, end: { outcome, refusal } };
    }
    case 'PlanRefused':
    case 'BackupRefused':
      return {
        ...progress,
        phase: 'refused',
        end: { outcome: 'refused', refusal: event.data.refusal as Refusal },
      };
    case 'BackupCancelled': {
      const { cancelledBy, reason } = event.data;
      const refusal = {
        code: 'Cancelled',
        message: `The backup was cancelled by ${cancelledBy}: ${reason}.`,
      };
      return { ...progress, phase: 'cancelled', end: { outcome: 'cancelled', refusal } };
    }
    default:
      return progress;
  }
}

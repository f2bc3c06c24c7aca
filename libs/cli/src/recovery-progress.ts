/** How far a recovery is, folded from its events as they arrive. Pure: drawing is elsewhere. */
import {
  type Acceleration,
  type consoleApi,
  type EventData,
  isCancellation,
  type RecoveryTotals,
} from '@backhaul/contracts';
import type { Refusal } from '@backhaul/kernel';
import { knownEvent } from './event-line.ts';
import { wayLine } from './way-line.ts';

export interface RecoveryProgress {
  readonly phase: string;
  readonly bytesToWrite: number;
  readonly writtenBytes: number;
  readonly streams: number;
  readonly streamsDone: number;
  /** What the VM was started with. */
  readonly acceleration: Acceleration | undefined;
  readonly end:
    | {
        readonly outcome: 'completed';
        readonly totals: RecoveryTotals;
        readonly started: boolean;
        /** It should run, and why it does not. */
        readonly notStarted: string | null;
      }
    | {
        readonly outcome: 'failed' | 'refused' | 'cancelled';
        readonly refusal: Refusal;
        /** The newest older restore point that is whole. */
        readonly alternative: EventData<'RecoveryFailed'>['alternative'];
      }
    | undefined;
}

export const noRecoveryProgress: RecoveryProgress = {
  phase: 'asked for',
  bytesToWrite: 0,
  writtenBytes: 0,
  streams: 0,
  streamsDone: 0,
  acceleration: undefined,
  end: undefined,
};

export function recoveryProgressAfter(
  progress: RecoveryProgress,
  recorded: consoleApi.RecordedEvent,
): RecoveryProgress {
  const event = knownEvent(recorded);
  switch (event?.type) {
    case 'RecoveryQueued':
      return { ...progress, phase: `waiting for run ${event.data.behind}` };
    case 'RecoveryTriggered':
      return { ...progress, phase: 'planning' };
    case 'RecoveryProxiesCalculated': {
      const { disks, childJobs, instant } = event.data;
      const how = instant !== undefined ? 'at once from a mount' : wayLine(event.data);
      return {
        ...progress,
        phase: `recovery, ${how}`,
        bytesToWrite: disks.reduce((sum, disk) => sum + disk.bytesToWrite, 0),
        streams: childJobs.length,
      };
    }
    case 'ChunkExported':
      return { ...progress, writtenBytes: progress.writtenBytes + event.data.length };
    case 'ExportJobCompleted':
      // One that was done under an earlier lease says so again under the next.
      return { ...progress, streamsDone: Math.min(progress.streams, progress.streamsDone + 1) };
    // As far as it goes by itself: it may pass what is filled once more.
    case 'FillProgressed': {
      const { filledBytes, totalBytes } = event.data;
      return {
        ...progress,
        phase: 'the VM runs, filling its disks',
        bytesToWrite: totalBytes,
        writtenBytes: Math.max(progress.writtenBytes, filledBytes),
      };
    }
    case 'DataExported':
      return { ...progress, phase: 'making the VM', streamsDone: progress.streams };
    case 'TargetKept':
      return { ...progress, acceleration: event.data.acceleration };
    case 'RecoveryCompleted': {
      const { totals, started, notStarted } = event.data;
      return { ...progress, phase: 'completed', end: { outcome: 'completed', totals, started, notStarted } };
    }
    case 'RecoveryPaused':
      return { ...progress, phase: `paused by ${event.data.pausedBy}: ${event.data.reason}` };
    case 'RecoveryResumed':
      return { ...progress, phase: 'going on' };
    case 'RecoveryCancelOrdered':
      return { ...progress, phase: 'ending, because it was cancelled' };
    case 'RecoveryFailed': {
      const { refusal, alternative } = event.data;
      const outcome = isCancellation(refusal) ? 'cancelled' : 'failed';
      return ended(progress, outcome, refusal as Refusal, alternative);
    }
    case 'RecoveryPlanRefused':
    case 'RecoveryRefused':
      return ended(progress, 'refused', event.data.refusal as Refusal);
    case 'RecoveryCancelled': {
      const { cancelledBy, reason } = event.data;
      const message = `The recovery was cancelled by ${cancelledBy}: ${reason}.`;
      return ended(progress, 'cancelled', { code: 'Cancelled', message });
    }
    default:
      return progress;
  }
}

const ended = (
  progress: RecoveryProgress,
  outcome: 'failed' | 'refused' | 'cancelled',
  refusal: Refusal,
  alternative: EventData<'RecoveryFailed'>['alternative'] = null,
): RecoveryProgress => ({ ...progress, phase: outcome, end: { outcome, refusal, alternative } });

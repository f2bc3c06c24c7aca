/**
 * What a backup or a recovery shows as its state while it is paused, or is being cancelled. How far it is (its stage) moves on beneath that
 * by its own events, and is its state again when it goes on; an end is an end, however it stood before.
 */
import { isCancellation, type Recorded } from '@backhaul/contracts';

interface Standing<State extends string> {
  readonly state: State | 'paused' | 'cancelling';
  readonly stage: State | 'paused' | 'cancelling';
  readonly pausedAt: string | null;
  readonly pauseReason: string | null;
}

/** `change`: on the row by its stage, for which `isEnded` says whether it is an end. */
export function standingStill<State extends string, Row extends Standing<State>>(
  row: Row,
  event: Recorded,
  change: (row: Row, event: Recorded) => Row,
  isEnded: (row: Row) => boolean,
): Row {
  const staged: Row = { ...row, state: row.stage };
  const changed = ordered(change(staged, event), event);
  if (changed === staged) return row;
  const isCancelling = row.state === 'cancelling' || isCancelOrder(event);
  const stage = changed.state;
  if (isEnded(changed)) return { ...changed, stage, pausedAt: null, pauseReason: null };
  const state = isCancelling ? 'cancelling' : changed.pausedAt === null ? stage : 'paused';
  return { ...changed, state, stage };
}

const isCancelOrder = ({ type }: Recorded): boolean =>
  type === 'BackupCancelOrdered' || type === 'RecoveryCancelOrdered';

function ordered<Row extends Standing<string>>(row: Row, event: Recorded): Row {
  switch (event.type) {
    case 'BackupPaused':
    case 'RecoveryPaused': {
      const { pausedAt, pausedBy, reason } = event.data;
      return { ...row, pausedAt, pauseReason: `${pausedBy}: ${reason}` };
    }
    case 'BackupResumed':
    case 'RecoveryResumed':
      return { ...row, pausedAt: null, pauseReason: null };
    // A change of its own: the row is another from here on.
    case 'BackupCancelOrdered':
    case 'RecoveryCancelOrdered':
      return { ...row };
    default:
      return row;
  }
}

/** One that was ordered to end, and ended, is not one that went wrong. */
export const outcomeOf = ({ refusal }: { readonly refusal: { readonly code: string } }) =>
  isCancellation(refusal) ? ('cancelled' as const) : ('failed' as const);

/** Null of a log that was written before ports were paid for. */
export const portMillisecondsOf = ({ data }: Recorded<'RunClosed'>): number | null =>
  data.portSeconds === undefined ? null : Math.round(data.portSeconds * 1000);

/**
 * What can be ordered of a backup or a recovery after it was asked for: that it pauses, goes on, or ends. Each is a fact of its own, and
 * each can be ordered twice and is one.
 * What cannot be done any more is refused with what is in the way. Where the run has ended meanwhile, and nobody here knows yet, the one
 * whose word its end is has the last one: an order that comes too late changes nothing.
 */
import { CANCELLED, type Purpose } from '@backhaul/contracts';
import { ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import type { Asked, Run, RunEvent, RunName } from './run.ts';

export interface Order extends RunName {
  readonly by: string;
  readonly reason: string;
  readonly at: string;
  /** What others have said of the run that this comes too late for (in-the-way.ts). */
  readonly inTheWay?: Refusal | undefined;
}

export const isPaused = (run: Run): boolean => 'orders' in run && run.orders % 2 === 1;

export function cancel(state: Run, order: Order): Result<RunEvent[]> {
  if (state.state === 'cancelled' || state.state === 'cancelling') return ok([]);
  if (state.state === 'unknown' || state.state === 'refused') return neverStarted(state, order);
  const { by: cancelledBy, reason, at: orderedAt } = order;
  const { hostId, vmId } = state.asked;
  if (state.state === 'queued') {
    const data = { hostId, vmId, cancelledBy, reason };
    return ok([
      order.purpose === 'backup'
        ? { type: 'BackupCancelled', data: { backupId: order.runId, ...data } }
        : { type: 'RecoveryCancelled', data: { recoveryId: order.runId, ...data } },
    ]);
  }
  if (order.inTheWay !== undefined) return refuse(order.inTheWay);
  const data = { hostId, vmId, cancelledBy, reason, orderedAt };
  return ok([
    order.purpose === 'backup'
      ? { type: 'BackupCancelOrdered', data: { backupId: order.runId, ...data } }
      : { type: 'RecoveryCancelOrdered', data: { recoveryId: order.runId, ...data } },
  ]);
}

export function pause(state: Run, order: Order): Result<RunEvent[]> {
  const goingOn = whatGoesOn(state, order);
  if (!goingOn.ok) return goingOn;
  if (isPaused(state)) return ok([]);
  if (order.inTheWay !== undefined) return refuse(order.inTheWay);
  const { asked, orders } = goingOn.value;
  if (state.state === 'triggered' && asked.purpose === 'recovery' && asked.instant !== undefined)
    return refuse(instantNeverPauses(order));
  const { hostId, vmId } = asked;
  const { by: pausedBy, reason, at: pausedAt } = order;
  const data = { hostId, vmId, number: orders + 1, pausedBy, reason, pausedAt };
  return ok([
    order.purpose === 'backup'
      ? { type: 'BackupPaused', data: { backupId: order.runId, ...data } }
      : { type: 'RecoveryPaused', data: { recoveryId: order.runId, ...data } },
  ]);
}

export function resume(state: Run, order: Order): Result<RunEvent[]> {
  const goingOn = whatGoesOn(state, order);
  if (!goingOn.ok) return goingOn;
  if (!isPaused(state)) return ok([]);
  if (order.inTheWay !== undefined) return refuse(order.inTheWay);
  const { asked, orders } = goingOn.value;
  const { hostId, vmId } = asked;
  const { by: resumedBy, reason, at: resumedAt } = order;
  const data = { hostId, vmId, number: orders + 1, resumedBy, reason, resumedAt };
  return ok([
    order.purpose === 'backup'
      ? { type: 'BackupResumed', data: { backupId: order.runId, ...data } }
      : { type: 'RecoveryResumed', data: { recoveryId: order.runId, ...data } },
  ]);
}

/** What can be paused, or go on after that. */
function whatGoesOn(state: Run, order: Order): Result<{ readonly asked: Asked; readonly orders: number }> {
  const { Noun } = wordsFor[order.purpose];
  switch (state.state) {
    case 'unknown':
    case 'refused':
      return neverStarted(state, order);
    case 'cancelling':
    case 'cancelled':
      return refuse({
        code: CANCELLED[order.purpose],
        message: `${Noun} ${order.runId} was cancelled: ${state.reason}.`,
        wayOut: 'Ask for it again under another request id.',
      });
    case 'queued':
    case 'triggered':
      return ok(state);
  }
}

function neverStarted(
  state: Extract<Run, { state: 'unknown' | 'refused' }>,
  { purpose, runId }: RunName,
): Result<never> {
  const { noun, Noun } = wordsFor[purpose];
  if (state.state === 'refused') {
    const message = `${Noun} ${runId} never started: ${state.refusal.message}`;
    return refuse({ code: `${Noun}WasRefused`, message });
  }
  return refuse({
    code: `Unknown${Noun}`,
    message: `There is no ${noun} ${runId}.`,
    wayOut: `Use the ${noun}Id from the answer to the request.`,
  });
}

const instantNeverPauses = ({ runId }: RunName): Refusal => ({
  code: 'PauseUnavailable',
  message: `Recovery ${runId} is an instant one: its VM runs, or is about to, and reads from the restore point what its disks have not yet.`,
  wayOut:
    'Let its disks be filled; fillBytesPerSecond, asked for with the recovery, keeps that from taking what others need.',
});

const wordsFor = {
  backup: { noun: 'backup', Noun: 'Backup' },
  recovery: { noun: 'recovery', Noun: 'Recovery' },
} as const satisfies Record<Purpose, object>;

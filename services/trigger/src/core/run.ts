/**
 * One request for a backup or for a recovery, and what became of it, up to the moment it starts (or does not); and what was ordered of it
 * since: that it pauses, goes on, or ends (run-orders.ts).
 * The promise kept here: what was asked is triggered at most once, and never after it was refused or cancelled.
 * What a request may ask is the business of `backup.ts` and `recovery.ts`, and whose turn it is at the VM that of `vm.ts`; they
 * are decided together in `turns.ts`.
 */
import {
  CANCELLED,
  type Event,
  type EventData,
  type Origin,
  type Policy,
  type Purpose,
  type RestorePoint,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import { type Decider, derivedId, ok, type Refusal, shortened, unreachable } from '@backhaul/kernel';
import { cancel, type Order, pause, resume } from './run-orders.ts';

export const runStream = (purpose: Purpose, runId: string): StreamName => streamName(purpose, runId);

/** The same request id names the same backup, and the same recovery, in every process and by every way. */
export const runIdFor = (purpose: Purpose, requestId: string): string => derivedId(purpose, requestId);

export type RunEvent = Event<
  | 'BackupTriggered'
  | 'BackupQueued'
  | 'BackupRefused'
  | 'BackupCancelled'
  | 'RecoveryTriggered'
  | 'RecoveryQueued'
  | 'RecoveryRefused'
  | 'RecoveryCancelled'
  | 'BackupCancelOrdered'
  | 'BackupPaused'
  | 'BackupResumed'
  | 'RecoveryCancelOrdered'
  | 'RecoveryPaused'
  | 'RecoveryResumed'
>;

/** What was asked, completed with the policy as it stood then: all that a backup or a recovery needs to start, now or later. */
export type Asked = EventData<'VmAwaited'>['asked'];
export type AskedFor<P extends Purpose> = Asked & { readonly purpose: P };

/** What a request is completed with. */
export interface Ground {
  readonly runId: string;
  readonly policy: Policy;
  readonly origin: Origin;
  readonly requestedAt: string;
}

export type Run =
  | { readonly state: 'unknown' }
  /** `orders`: how often it was paused and resumed by now, so that it is paused where that is odd. */
  | { readonly state: 'queued' | 'triggered'; readonly asked: Asked; readonly orders: number }
  /** It had started, and is to end. */
  | { readonly state: 'cancelling'; readonly asked: Asked; readonly reason: string }
  | { readonly state: 'cancelled'; readonly asked: Asked; readonly reason: string }
  | { readonly state: 'refused'; readonly request: string; readonly refusal: Refusal };

export interface RunName {
  readonly purpose: Purpose;
  readonly runId: string;
}

export interface RefuseRun extends RunName {
  readonly origin: Origin;
  readonly refusal: Refusal;
  readonly request: string;
  readonly refusedAt: string;
}

export type RunCommand =
  /** `parent`: the newest restore point of the VM, which a backup builds on. */
  | { readonly type: 'Trigger'; readonly asked: Asked; readonly parent: RestorePoint | null }
  | { readonly type: 'Queue'; readonly asked: Asked; readonly behind: string }
  | ({ readonly type: 'Refuse' } & RefuseRun)
  | ({ readonly type: 'Cancel' | 'Pause' | 'Resume' } & Order);

export const run: Decider<Run, RunCommand, RunEvent> = {
  initialState: { state: 'unknown' },

  evolve(state, event): Run {
    switch (event.type) {
      case 'BackupTriggered': {
        const { parent: _, ...asked } = event.data;
        return { state: 'triggered', asked: { purpose: 'backup', ...asked }, orders: ordersOf(state) };
      }
      case 'BackupQueued': {
        const { behind: _, ...asked } = event.data;
        return { state: 'queued', asked: { purpose: 'backup', ...asked }, orders: 0 };
      }
      case 'RecoveryTriggered':
        return {
          state: 'triggered',
          asked: { purpose: 'recovery', ...event.data },
          orders: ordersOf(state),
        };
      case 'RecoveryQueued': {
        const { behind: _, ...asked } = event.data;
        return { state: 'queued', asked: { purpose: 'recovery', ...asked }, orders: 0 };
      }
      case 'BackupRefused':
      case 'RecoveryRefused':
        return { state: 'refused', request: event.data.request, refusal: event.data.refusal };
      case 'BackupCancelled':
      case 'RecoveryCancelled':
        return 'asked' in state
          ? { state: 'cancelled', asked: state.asked, reason: event.data.reason }
          : state;
      case 'BackupCancelOrdered':
      case 'RecoveryCancelOrdered':
        return 'asked' in state
          ? { state: 'cancelling', asked: state.asked, reason: event.data.reason }
          : state;
      case 'BackupPaused':
      case 'BackupResumed':
      case 'RecoveryPaused':
      case 'RecoveryResumed':
        return 'orders' in state ? { ...state, orders: event.data.number } : state;
      default:
        return state;
    }
  },

  decide(state, command) {
    switch (command.type) {
      case 'Trigger':
        return ok(
          state.state === 'unknown' || state.state === 'queued'
            ? [triggered(command.asked, command.parent)]
            : [],
        );
      case 'Queue':
        return ok(state.state === 'unknown' ? [queued(command.asked, command.behind)] : []);
      case 'Refuse':
        return ok(state.state === 'unknown' ? [refused(command)] : []);
      case 'Cancel':
        return cancel(state, command);
      case 'Pause':
        return pause(state, command);
      case 'Resume':
        return resume(state, command);
      default:
        return unreachable(command);
    }
  },
};

const ordersOf = (state: Run): number => ('orders' in state ? state.orders : 0);

export const runIdOf = (asked: Asked): string =>
  asked.purpose === 'backup' ? asked.backupId : asked.recoveryId;

function triggered(asked: Asked, parent: RestorePoint | null): RunEvent {
  if (asked.purpose === 'backup') {
    const { purpose: _, ...data } = asked;
    return { type: 'BackupTriggered', data: { ...data, parent } };
  }
  const { purpose: _, ...data } = asked;
  return { type: 'RecoveryTriggered', data };
}

function queued(asked: Asked, behind: string): RunEvent {
  if (asked.purpose === 'backup') {
    const { purpose: _, ...data } = asked;
    return { type: 'BackupQueued', data: { ...data, behind } };
  }
  const { purpose: _, ...data } = asked;
  return { type: 'RecoveryQueued', data: { ...data, behind } };
}

const requestBytesMax = 16 * 1024;
const refusalCharactersMax = 4_000;

/** What was asked is kept as it came, as far as it fits: never cut in the middle of a character. */
function refused({ purpose, runId, origin, refusal, request, refusedAt }: RefuseRun): RunEvent {
  const kept = Buffer.from(request, 'utf8').subarray(0, requestBytesMax);
  const why = { ...refusal, message: shortened(refusal.message, refusalCharactersMax) };
  const data = { origin, refusal: why, request: new TextDecoder().decode(kept, { stream: true }), refusedAt };
  return purpose === 'backup'
    ? { type: 'BackupRefused', data: { backupId: runId, ...data } }
    : { type: 'RecoveryRefused', data: { recoveryId: runId, ...data } };
}

/** Why a run that was cancelled will not start. */
export const cancelled = ({ purpose, runId }: RunName, reason: string): Refusal => ({
  code: CANCELLED[purpose],
  message: `${purpose === 'backup' ? 'Backup' : 'Recovery'} ${runId} was cancelled before it started: ${reason}.`,
  wayOut: 'Ask again under another request id.',
});

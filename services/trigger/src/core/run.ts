/**
 * One request for a backup or for a recovery, and what became of it, up to the moment it starts (or does not).
 * The promise kept here: what was asked is triggered at most once, and never after it was refused or cancelled.
 * What a request may ask is the business of `backup.ts` and `recovery.ts`, and whose turn it is at the VM that of `vm.ts`; they
 * are decided together in `turns.ts`.
 */
import {
  type Event,
  type EventData,
  type Origin,
  type Policy,
  type Purpose,
  type RestorePoint,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import {
  type Decider,
  derivedId,
  ok,
  type Refusal,
  type Result,
  refuse,
  unreachable,
} from '@backhaul/kernel';

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
  | { readonly state: 'queued' | 'triggered'; readonly asked: Asked }
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

export interface CancelRun extends RunName {
  readonly cancelledBy: string;
  readonly reason: string;
}

export type RunCommand =
  /** `parent`: the newest restore point of the VM, which a backup builds on. */
  | { readonly type: 'Trigger'; readonly asked: Asked; readonly parent: RestorePoint | null }
  | { readonly type: 'Queue'; readonly asked: Asked; readonly behind: string }
  | ({ readonly type: 'Refuse' } & RefuseRun)
  | ({ readonly type: 'Cancel' } & CancelRun);

export const run: Decider<Run, RunCommand, RunEvent> = {
  initialState: { state: 'unknown' },

  evolve(state, event): Run {
    switch (event.type) {
      case 'BackupTriggered': {
        const { parent: _, ...asked } = event.data;
        return { state: 'triggered', asked: { purpose: 'backup', ...asked } };
      }
      case 'BackupQueued': {
        const { behind: _, ...asked } = event.data;
        return { state: 'queued', asked: { purpose: 'backup', ...asked } };
      }
      case 'RecoveryTriggered':
        return { state: 'triggered', asked: { purpose: 'recovery', ...event.data } };
      case 'RecoveryQueued': {
        const { behind: _, ...asked } = event.data;
        return { state: 'queued', asked: { purpose: 'recovery', ...asked } };
      }
      case 'BackupRefused':
      case 'RecoveryRefused':
        return { state: 'refused', request: event.data.request, refusal: event.data.refusal };
      case 'BackupCancelled':
      case 'RecoveryCancelled':
        return 'asked' in state
          ? { state: 'cancelled', asked: state.asked, reason: event.data.reason }
          : state;
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
      default:
        return unreachable(command);
    }
  },
};

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

/** What was asked is kept as it came, as far as it fits: never cut in the middle of a character. */
function refused({ purpose, runId, origin, refusal, request, refusedAt }: RefuseRun): RunEvent {
  const kept = Buffer.from(request, 'utf8').subarray(0, requestBytesMax);
  const data = { origin, refusal, request: new TextDecoder().decode(kept, { stream: true }), refusedAt };
  return purpose === 'backup'
    ? { type: 'BackupRefused', data: { backupId: runId, ...data } }
    : { type: 'RecoveryRefused', data: { recoveryId: runId, ...data } };
}

function cancel(state: Run, { purpose, runId, cancelledBy, reason }: CancelRun): Result<RunEvent[]> {
  const { noun, Noun } = wordsFor[purpose];
  switch (state.state) {
    case 'cancelled':
      return ok([]);
    case 'queued': {
      const { hostId, vmId } = state.asked;
      const data = { hostId, vmId, cancelledBy, reason };
      return ok([
        purpose === 'backup'
          ? { type: 'BackupCancelled', data: { backupId: runId, ...data } }
          : { type: 'RecoveryCancelled', data: { recoveryId: runId, ...data } },
      ]);
    }
    case 'triggered':
      return refuse({
        code: `${Noun}AlreadyStarted`,
        message: `${Noun} ${runId} has started, and only one that still waits for its turn can be cancelled.`,
        wayOut: 'Let it end: it gives back everything it took.',
      });
    case 'refused':
      return refuse({
        code: `${Noun}WasRefused`,
        message: `${Noun} ${runId} never started: ${state.refusal.message}`,
      });
    case 'unknown':
      return refuse({
        code: `Unknown${Noun}`,
        message: `There is no ${noun} ${runId}.`,
        wayOut: `Use the ${noun}Id from the answer to the request.`,
      });
  }
}

/** Why a run that was cancelled will not start. */
export const cancelled = ({ purpose, runId }: RunName, reason: string): Refusal => ({
  code: `${wordsFor[purpose].Noun}Cancelled`,
  message: `${wordsFor[purpose].Noun} ${runId} was cancelled before it started: ${reason}.`,
  wayOut: 'Ask again under another request id.',
});

const wordsFor = {
  backup: { noun: 'backup', Noun: 'Backup' },
  recovery: { noun: 'recovery', Noun: 'Recovery' },
} as const satisfies Record<Purpose, object>;

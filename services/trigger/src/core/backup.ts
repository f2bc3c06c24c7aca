/**
 * One request for a backup and what became of it, up to the moment it starts (or does not).
 * The promise kept here: a backup is triggered at most once, and never after it was refused or cancelled.
 * Whose turn it is at the VM is the business of `vm.ts`; the two are decided together in `turns.ts`.
 */
import {
  BackupRequested,
  type Event,
  type EventData,
  type RestorePoint,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import { type Decider, ok, type Refusal, refuse, unreachable } from '@backhaul/kernel';

export const backupStream = (backupId: string): StreamName => streamName('backup', backupId);

export type BackupEvent = Event<'BackupTriggered' | 'BackupQueued' | 'BackupRefused' | 'BackupCancelled'>;

/** What was asked, completed with the policy as it stood then: all that a backup needs to start, now or later. */
export type Asked = Omit<EventData<'BackupTriggered'>, 'parent'>;

export type Backup =
  | { readonly state: 'unknown' }
  | { readonly state: 'queued' | 'triggered'; readonly asked: Asked }
  | { readonly state: 'cancelled'; readonly asked: Asked; readonly reason: string }
  | { readonly state: 'refused'; readonly request: string; readonly refusal: Refusal };

export type BackupCommand =
  | { readonly type: 'TriggerBackup'; readonly asked: Asked; readonly parent: RestorePoint | null }
  | { readonly type: 'QueueBackup'; readonly asked: Asked; readonly behind: string }
  | { readonly type: 'RefuseBackup'; readonly refused: EventData<'BackupRefused'> }
  | {
      readonly type: 'CancelBackup';
      readonly backupId: string;
      readonly cancelledBy: string;
      readonly reason: string;
    };

export const backup: Decider<Backup, BackupCommand, BackupEvent> = {
  initialState: { state: 'unknown' },

  evolve(state, event): Backup {
    switch (event.type) {
      case 'BackupTriggered':
        return { state: 'triggered', asked: askedOf(event.data) };
      case 'BackupQueued':
        return { state: 'queued', asked: askedOf(event.data) };
      case 'BackupRefused':
        return { state: 'refused', request: event.data.request, refusal: refusalOf(event.data.refusal) };
      case 'BackupCancelled':
        return 'asked' in state
          ? { state: 'cancelled', asked: state.asked, reason: event.data.reason }
          : state;
      default:
        return state;
    }
  },

  decide(state, command) {
    switch (command.type) {
      case 'TriggerBackup': {
        const { asked, parent } = command;
        const starts = state.state === 'unknown' || state.state === 'queued';
        return ok(starts ? [{ type: 'BackupTriggered', data: { ...asked, parent } }] : []);
      }
      case 'QueueBackup': {
        const { asked, behind } = command;
        return ok(state.state === 'unknown' ? [{ type: 'BackupQueued', data: { ...asked, behind } }] : []);
      }
      case 'RefuseBackup':
        return ok(state.state === 'unknown' ? [refused(command.refused)] : []);
      case 'CancelBackup':
        return cancel(state, command);
      default:
        return unreachable(command);
    }
  },
};

const requestBytesMax = 16 * 1024;

/** What was asked is kept as it came, as far as it fits: never cut in the middle of a character. */
function refused(data: EventData<'BackupRefused'>): BackupEvent {
  const request = Buffer.from(data.request, 'utf8').subarray(0, requestBytesMax);
  return {
    type: 'BackupRefused',
    data: { ...data, request: new TextDecoder().decode(request, { stream: true }) },
  };
}

function cancel(state: Backup, command: BackupCommand & { type: 'CancelBackup' }) {
  const { backupId, cancelledBy, reason } = command;
  switch (state.state) {
    case 'cancelled':
      return ok([]);
    case 'queued': {
      const { hostId, vmId } = state.asked;
      return ok([
        { type: 'BackupCancelled' as const, data: { backupId, hostId, vmId, cancelledBy, reason } },
      ]);
    }
    case 'triggered':
      return refuse({
        code: 'BackupAlreadyStarted',
        message: `Backup ${backupId} has started, and only one that still waits for its turn can be cancelled.`,
        wayOut: 'Let it end: it gives back everything it took.',
      });
    case 'refused':
      return refuse({
        code: 'BackupWasRefused',
        message: `Backup ${backupId} never started: ${state.refusal.message}`,
      });
    case 'unknown':
      return refuse({
        code: 'UnknownBackup',
        message: `There is no backup ${backupId}.`,
        wayOut: 'Use the backupId from the answer to the request.',
      });
  }
}

/** What makes two requests the same request. Who sent it and by which way does not: a retry may take another way. */
export const contentOf = ({ host, vm, kind, mode, policy }: BackupRequested): string =>
  JSON.stringify({ host, vm, kind, mode, policy });

/** Undefined while no request is known, or where the known one could not be read. */
export function knownContent(state: Backup): string | undefined {
  switch (state.state) {
    case 'unknown':
      return undefined;
    case 'refused':
      return contentOfText(state.request);
    default: {
      const { hostId: host, vmId: vm, kind, mode, policy } = state.asked;
      return JSON.stringify({ host, vm, kind, mode, policy: policy.policyId });
    }
  }
}

function contentOfText(request: string): string | undefined {
  try {
    const parsed = BackupRequested.safeParse(JSON.parse(request));
    return parsed.success ? contentOf(parsed.data) : undefined;
  } catch {
    return undefined;
  }
}

function askedOf(data: EventData<'BackupTriggered'> | EventData<'BackupQueued'>): Asked {
  const { backupId, hostId, vmId, kind, mode, policy, origin, requestedAt } = data;
  return { backupId, hostId, vmId, kind, mode, policy, origin, requestedAt };
}

/** Optional fields are absent and not undefined, so that a refusal compares and prints as it was made. */
const refusalOf = ({ code, message, wayOut }: EventData<'BackupRefused'>['refusal']): Refusal =>
  wayOut === undefined ? { code, message } : { code, message, wayOut };

export const cancelled = (backupId: string, reason: string): Refusal => ({
  code: 'BackupCancelled',
  message: `Backup ${backupId} was cancelled before it started: ${reason}.`,
  wayOut: 'Ask again under another request id.',
});

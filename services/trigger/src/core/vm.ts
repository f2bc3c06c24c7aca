/**
 * Whose turn it is at a VM. The promises kept here: one backup at a time has the turn; it keeps it until its outcome is
 * known and its run has given everything back; the others wait in the order in which they came; and the newest restore
 * point stays here for the next backup to build on.
 */
import { type Event, type RestorePoint, type StreamName, streamName, vmStreamId } from '@backhaul/contracts';
import { type Decider, ok, type Result, refuse, unreachable } from '@backhaul/kernel';
import type { Asked } from './backup.ts';

export const vmStream = (hostId: string, vmId: string): StreamName =>
  streamName('vm', vmStreamId(hostId, vmId));

export type VmEvent = Event<'VmClaimed' | 'VmAwaited' | 'VmBackupEnded' | 'VmRunClosed' | 'VmReleased'>;

export interface Vm {
  readonly turn: Turn | null;
  /** In the order in which they will have their turn. */
  readonly waiting: readonly Asked[];
  readonly restorePoint: RestorePoint | null;
}

/** Of the two facts that end a turn, whichever came first is kept here. */
interface Turn {
  readonly backupId: string;
  readonly ended: Ending | null;
  readonly runClosed: boolean;
}

interface Ending {
  readonly outcome: 'completed' | 'failed';
  readonly restorePoint: RestorePoint | null;
}

interface OfBackup {
  readonly hostId: string;
  readonly vmId: string;
  readonly backupId: string;
}

export type VmCommand =
  | { readonly type: 'AskForTurn'; readonly asked: Asked }
  /** The turn is free: the next in the line has it. */
  | { readonly type: 'PassTurn'; readonly of: Omit<OfBackup, 'backupId'> }
  | { readonly type: 'NoteOutcome'; readonly of: OfBackup; readonly ending: Ending }
  | { readonly type: 'NoteRunClosed'; readonly of: OfBackup }
  /** There was no plan, so there is no run to wait for. */
  | { readonly type: 'NotePlanRefused'; readonly of: OfBackup }
  | { readonly type: 'LeaveLine'; readonly of: OfBackup };

export const vm: Decider<Vm, VmCommand, VmEvent> = {
  initialState: { turn: null, waiting: [], restorePoint: null },

  evolve(state, event): Vm {
    switch (event.type) {
      case 'VmClaimed':
        return {
          ...state,
          turn: { backupId: event.data.backupId, ended: null, runClosed: false },
          waiting: without(state.waiting, event.data.backupId),
        };
      case 'VmAwaited': {
        const { behind: _, ...asked } = event.data;
        return { ...state, waiting: [...state.waiting, asked] };
      }
      case 'VmBackupEnded': {
        const { outcome, restorePoint } = event.data;
        return duringTurn(state, event.data.backupId, { ended: { outcome, restorePoint } });
      }
      case 'VmRunClosed':
        return duringTurn(state, event.data.backupId, { runClosed: true });
      case 'VmReleased':
        return {
          turn: state.turn?.backupId === event.data.backupId ? null : state.turn,
          waiting: without(state.waiting, event.data.backupId),
          restorePoint: event.data.restorePoint ?? state.restorePoint,
        };
      default:
        return state;
    }
  },

  decide(state, command) {
    switch (command.type) {
      case 'AskForTurn':
        return askForTurn(state, command.asked);
      case 'PassTurn': {
        const next = state.waiting[0];
        if (state.turn !== null || next === undefined) return ok([]);
        return ok([{ type: 'VmClaimed', data: { ...command.of, backupId: next.backupId } }]);
      }
      case 'NoteOutcome': {
        const { of, ending } = command;
        if (!hasTurn(state, of) || state.turn.ended !== null) return ok([]);
        const noted: VmEvent = { type: 'VmBackupEnded', data: { ...of, ...ending } };
        return ok(state.turn.runClosed ? [noted, released(of, ending)] : [noted]);
      }
      case 'NoteRunClosed': {
        const { of } = command;
        if (!hasTurn(state, of) || state.turn.runClosed) return ok([]);
        const noted: VmEvent = { type: 'VmRunClosed', data: of };
        return ok(state.turn.ended === null ? [noted] : [noted, released(of, state.turn.ended)]);
      }
      case 'NotePlanRefused':
        if (!hasTurn(state, command.of)) return ok([]);
        return ok([released(command.of, { outcome: 'refused', restorePoint: null })]);
      case 'LeaveLine':
        if (!isWaiting(state, command.of.backupId)) return ok([]);
        return ok([released(command.of, { outcome: 'cancelled', restorePoint: null })]);
      default:
        return unreachable(command);
    }
  },
};

/** Whoever comes while others wait comes after them. */
function askForTurn(state: Vm, asked: Asked): Result<VmEvent[]> {
  const { backupId, hostId, vmId, policy } = asked;
  if (state.turn?.backupId === backupId || isWaiting(state, backupId)) return ok([]);
  const behind = state.waiting.at(-1)?.backupId ?? state.turn?.backupId;
  if (behind === undefined) return ok([{ type: 'VmClaimed', data: { hostId, vmId, backupId } }]);
  if (policy.whenVmBusy === 'queue') return ok([{ type: 'VmAwaited', data: { ...asked, behind } }]);
  return refuse({
    code: 'VmBusy',
    message: `Backup ${state.turn?.backupId ?? behind} of VM ${vmId} on host ${hostId} has not ended, and policy ${policy.policyId} wants no waiting.`,
    wayOut: 'Ask again when it has ended, or set whenVmBusy of the policy to "queue".',
  });
}

const released = (
  of: OfBackup,
  ending: { outcome: 'completed' | 'failed' | 'refused' | 'cancelled'; restorePoint: RestorePoint | null },
): VmEvent => ({
  type: 'VmReleased',
  data: { ...of, outcome: ending.outcome, restorePoint: ending.restorePoint },
});

const hasTurn = (state: Vm, of: OfBackup): state is Vm & { readonly turn: Turn } =>
  state.turn?.backupId === of.backupId;

const isWaiting = (state: Vm, backupId: string): boolean =>
  state.waiting.some((asked) => asked.backupId === backupId);

const without = (waiting: readonly Asked[], backupId: string): readonly Asked[] =>
  waiting.filter((asked) => asked.backupId !== backupId);

const duringTurn = (state: Vm, backupId: string, facts: Partial<Turn>): Vm =>
  state.turn?.backupId === backupId ? { ...state, turn: { ...state.turn, ...facts } } : state;

/** A schedule that comes due while its last backup still waits asks for nothing new: that backup is as good. */
export const waitingForSchedule = (state: Vm, scheduleId: string): Asked | undefined =>
  state.waiting.find(({ origin }) => origin.scheduleId === scheduleId);

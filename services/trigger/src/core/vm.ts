/**
 * Whose turn it is at a VM. The promises kept here: one backup of it, or one recovery to it, at a time has the turn; it keeps it until
 * its outcome is known and its run has given everything back; the others wait in the order that priority and age give them
 * (contracts, priority.ts); and the newest restore point stays here for the next backup to build on. It stays over a recovery too:
 * that the disks are others now is seen by the host, which compares images.
 */
import {
  type Event,
  type EventData,
  type RestorePoint,
  type StreamName,
  streamName,
  turnOf,
  vmStreamId,
} from '@backhaul/contracts';
import { type Decider, ok, type Result, refuse, unreachable } from '@backhaul/kernel';
import { type Asked, runIdOf } from './run.ts';

export const vmStream = (hostId: string, vmId: string): StreamName =>
  streamName('vm', vmStreamId(hostId, vmId));

export type VmEvent = Event<
  'VmClaimed' | 'VmAwaited' | 'VmBackupEnded' | 'VmRecoveryEnded' | 'VmRunClosed' | 'VmReleased'
>;

export interface Vm {
  readonly turn: Turn | null;
  /** In the order in which they will have their turn. */
  readonly waiting: readonly Asked[];
  readonly restorePoint: RestorePoint | null;
}

/** Of the two facts that end a turn, whichever came first is kept here. */
interface Turn {
  readonly runId: string;
  readonly ended: Ending | null;
  readonly runClosed: boolean;
}

/** Only a backup that completed leaves a restore point. */
type Ending =
  | {
      readonly purpose: 'backup';
      readonly outcome: Outcome;
      readonly restorePoint: RestorePoint | null;
    }
  | { readonly purpose: 'recovery'; readonly outcome: Outcome };

type Outcome = EventData<'VmRecoveryEnded'>['outcome'];

interface OfRun {
  readonly hostId: string;
  readonly vmId: string;
  readonly runId: string;
}

export type VmCommand =
  | { readonly type: 'AskForTurn'; readonly asked: Asked }
  /** The turn is free: the next in the line has it. */
  | { readonly type: 'PassTurn'; readonly of: Omit<OfRun, 'runId'> }
  | { readonly type: 'NoteOutcome'; readonly of: OfRun; readonly ending: Ending }
  | { readonly type: 'NoteRunClosed'; readonly of: OfRun }
  /** There was no plan, so there is no run to wait for. */
  | { readonly type: 'NotePlanRefused'; readonly of: OfRun }
  | { readonly type: 'LeaveLine'; readonly of: OfRun };

export const vm: Decider<Vm, VmCommand, VmEvent> = {
  initialState: { turn: null, waiting: [], restorePoint: null },

  evolve(state, event): Vm {
    switch (event.type) {
      case 'VmClaimed':
        return {
          ...state,
          turn: { runId: event.data.runId, ended: null, runClosed: false },
          waiting: without(state.waiting, event.data.runId),
        };
      case 'VmAwaited':
        return { ...state, waiting: inLine(state.waiting, event.data.asked) };
      case 'VmBackupEnded': {
        const { runId, outcome, restorePoint } = event.data;
        return duringTurn(state, runId, { ended: { purpose: 'backup', outcome, restorePoint } });
      }
      case 'VmRecoveryEnded': {
        const { runId, outcome } = event.data;
        return duringTurn(state, runId, { ended: { purpose: 'recovery', outcome } });
      }
      case 'VmRunClosed':
        return duringTurn(state, event.data.runId, { runClosed: true });
      case 'VmReleased':
        return {
          turn: state.turn?.runId === event.data.runId ? null : state.turn,
          waiting: without(state.waiting, event.data.runId),
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
        return ok([{ type: 'VmClaimed', data: { ...command.of, runId: runIdOf(next) } }]);
      }
      case 'NoteOutcome': {
        const { of, ending } = command;
        if (!hasTurn(state, of) || state.turn.ended !== null) return ok([]);
        const noted = ended(of, ending);
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
        return ok([released(command.of, { outcome: 'refused' })]);
      case 'LeaveLine':
        if (!isWaiting(state, command.of.runId)) return ok([]);
        return ok([released(command.of, { outcome: 'cancelled' })]);
      default:
        return unreachable(command);
    }
  },
};

/** Whoever comes while others wait comes after those whose turn is before his own. */
function askForTurn(state: Vm, asked: Asked): Result<VmEvent[]> {
  const { hostId, vmId, policy } = asked;
  const of = { hostId, vmId, runId: runIdOf(asked) };
  if (hasTurn(state, of) || isWaiting(state, of.runId)) return ok([]);
  const before = inLine(state.waiting, asked);
  const last = before[before.indexOf(asked) - 1];
  const behind = last === undefined ? state.turn?.runId : runIdOf(last);
  if (behind === undefined) return ok([{ type: 'VmClaimed', data: of }]);
  if (policy.whenVmBusy === 'queue') return ok([{ type: 'VmAwaited', data: { ...of, behind, asked } }]);
  return refuse({
    code: 'VmBusy',
    message: `Run ${state.turn?.runId ?? behind} has the turn at VM ${vmId} on host ${hostId} and has not ended, and policy ${policy.policyId} wants no waiting.`,
    wayOut: 'Ask again when it has ended, or set whenVmBusy of the policy to "queue".',
  });
}

function ended(of: OfRun, ending: Ending): VmEvent {
  const { outcome } = ending;
  return ending.purpose === 'backup'
    ? { type: 'VmBackupEnded', data: { ...of, outcome, restorePoint: ending.restorePoint } }
    : { type: 'VmRecoveryEnded', data: { ...of, outcome } };
}

const released = (of: OfRun, ending: Ending | { readonly outcome: 'refused' | 'cancelled' }): VmEvent => ({
  type: 'VmReleased',
  data: {
    ...of,
    outcome: ending.outcome,
    restorePoint: 'restorePoint' in ending ? ending.restorePoint : null,
  },
});

/** Of equal turns, the one that came first. */
function inLine(waiting: readonly Asked[], asked: Asked): readonly Asked[] {
  const after = waiting.findIndex((other) => placeOf(asked) < placeOf(other));
  return waiting.toSpliced(after === -1 ? waiting.length : after, 0, asked);
}

const placeOf = ({ priority, requestedAt: askedAt }: Asked): number => turnOf({ priority, askedAt });

const hasTurn = (state: Vm, of: OfRun): state is Vm & { readonly turn: Turn } =>
  state.turn?.runId === of.runId;

const isWaiting = (state: Vm, runId: string): boolean =>
  state.waiting.some((asked) => runIdOf(asked) === runId);

const without = (waiting: readonly Asked[], runId: string): readonly Asked[] =>
  waiting.filter((asked) => runIdOf(asked) !== runId);

const duringTurn = (state: Vm, runId: string, facts: Partial<Turn>): Vm =>
  state.turn?.runId === runId ? { ...state, turn: { ...state.turn, ...facts } } : state;

/** A schedule that comes due while its last backup still waits asks for nothing new: that backup is as good. */
export const waitingForSchedule = (state: Vm, scheduleId: string): Asked | undefined =>
  state.waiting.find(({ origin }) => origin.scheduleId === scheduleId);

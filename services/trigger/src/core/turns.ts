/**
 * What happens to a backup and to its VM's turn at the same time. The two streams are appended to in one append, so
 * neither can say something that the other does not: a backup is triggered exactly when it is given the turn.
 */
import type { BackupRequested, Origin, Policy } from '@backhaul/contracts';
import { derivedId, fold, invariant, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { type Asked, type Backup, type BackupEvent, backup, contentOf, knownContent } from './backup.ts';
import { type Vm, type VmCommand, type VmEvent, vm } from './vm.ts';

export interface Change {
  readonly backup: BackupEvent[];
  readonly vm: VmEvent[];
}

const NOTHING: Change = { backup: [], vm: [] };

/** The same request id names the same backup, in every process and by every way. */
export const backupIdOf = (requestId: string): string => derivedId('backup', requestId);

export interface RequestBackup {
  readonly backupId: string;
  readonly request: BackupRequested;
  readonly origin: Origin;
  readonly requestedAt: string;
  /** Whether the host is one of this deployment's. */
  readonly hostKnown: boolean;
  /** Undefined: there is no policy of that name. */
  readonly policy: Policy | undefined;
}

/** Refused only when the id was used for another request: what is refused for any other reason is an event. */
export function requestBackup(ofBackup: Backup, ofVm: Vm, command: RequestBackup): Result<Change> {
  const { backupId, request, origin, requestedAt, policy } = command;
  if (ofBackup.state !== 'unknown') {
    return knownContent(ofBackup) === contentOf(request) ? ok(NOTHING) : refuse(requestIdReused(request));
  }
  if (!command.hostKnown) return ok(refused(ofBackup, command, unknownHost(request)));
  if (policy === undefined) return ok(refused(ofBackup, command, unknownPolicy(request)));

  const { kind, mode } = request;
  const asked = { backupId, hostId: request.host, vmId: request.vm, kind, mode, policy, origin, requestedAt };
  const turn = vm.decide(ofVm, { type: 'AskForTurn', asked });
  return ok(
    turn.ok ? followTurn(ofBackup, ofVm, asked, turn.value) : refused(ofBackup, command, turn.refusal),
  );
}

/**
 * News about the backup that has the turn. When they end it, the one that waits longest, which `ofNext` must be, starts
 * in the same moment: a turn is never free while somebody waits for it.
 */
export function noteNews(ofVm: Vm, news: VmCommand, ofNext: Backup): Result<Change> {
  const noted = vm.decide(ofVm, news);
  if (!noted.ok) return noted;
  const passed = passTurn(ofNext, fold(vm.evolve, ofVm, noted.value));
  return ok({ backup: passed.backup, vm: [...noted.value, ...passed.vm] });
}

function passTurn(ofNext: Backup, ofVm: Vm): Change {
  const next = ofVm.waiting[0];
  if (next === undefined) return NOTHING;
  const { hostId, vmId } = next;
  const turn = vm.decide(ofVm, { type: 'PassTurn', of: { hostId, vmId } });
  return turn.ok ? followTurn(ofNext, ofVm, next, turn.value) : NOTHING;
}

/** For now only a backup that waits can be cancelled. */
export function cancelBackup(
  ofBackup: Backup,
  ofVm: Vm,
  command: { backupId: string; cancelledBy: string; reason: string },
): Result<Change> {
  const cancelled = backup.decide(ofBackup, { type: 'CancelBackup', ...command });
  if (!cancelled.ok || cancelled.value.length === 0) return cancelled.ok ? ok(NOTHING) : cancelled;
  invariant(ofBackup.state === 'queued', 'Only a queued backup is cancelled');
  const { hostId, vmId, backupId } = ofBackup.asked;
  const left = vm.decide(ofVm, { type: 'LeaveLine', of: { hostId, vmId, backupId } });
  return left.ok ? ok({ backup: cancelled.value, vm: left.value }) : left;
}

/** What the VM's news means for the backup it is about. */
function followTurn(ofBackup: Backup, ofVm: Vm, asked: Asked, news: VmEvent[]): Change {
  const commands = news.map((event) => {
    switch (event.type) {
      case 'VmClaimed':
        return backup.decide(ofBackup, { type: 'TriggerBackup', asked, parent: ofVm.restorePoint });
      case 'VmAwaited':
        return backup.decide(ofBackup, { type: 'QueueBackup', asked, behind: event.data.behind });
      default:
        return ok([]);
    }
  });
  return { backup: commands.flatMap((decision) => (decision.ok ? decision.value : [])), vm: news };
}

function refused(ofBackup: Backup, command: RequestBackup, refusal: Refusal): Change {
  const { backupId, origin, requestedAt } = command;
  const request = JSON.stringify(command.request);
  const decision = backup.decide(ofBackup, {
    type: 'RefuseBackup',
    refused: { backupId, origin, refusal, request, refusedAt: requestedAt },
  });
  return { backup: decision.ok ? decision.value : [], vm: [] };
}

const requestIdReused = ({ requestId }: BackupRequested): Refusal => ({
  code: 'RequestIdReused',
  message: `Request id ${requestId} was used before, for another request.`,
  wayOut: 'Give every request an id of its own, and repeat an id only to repeat its request unchanged.',
});

const unknownHost = ({ host }: BackupRequested): Refusal => ({
  code: 'UnknownHost',
  message: `Host ${host} is not one of this deployment's.`,
  wayOut: 'Name a host of BACKHAUL_HOSTS, or add it there.',
});

const unknownPolicy = ({ policy }: BackupRequested): Refusal => ({
  code: 'UnknownPolicy',
  message: `There is no policy ${policy}.`,
  wayOut: 'Define it (PUT /api/v1/policies/<id>), or leave it out for the default.',
});

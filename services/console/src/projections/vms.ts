/** VMs: whose turn it is (a backup's of it, or a recovery's to it), who waits, how the last backup ended, and the newest restore point. */
import { type consoleApi, type Recorded, turnOf } from '@backhaul/contracts';
import type { Folded, Projection } from '../projection.ts';

type VmView = consoleApi.VmView;
type Row = Folded<VmView>;
type Turn = NonNullable<Row['running']>;
type Queued = Row['queued'][number];

export const vms: Projection<VmView> = {
  table: 'vms',
  key: ['hostId', 'vmId'],
  columns: {
    hostId: 'text',
    vmId: 'text',
    running: 'json',
    queued: 'json',
    lastBackupId: 'text',
    lastOutcome: 'text',
    lastEndedAt: 'instant',
    lastRestorePoint: 'json',
    lastRestorePointAt: 'instant',
    position: 'bigint',
  },
  indexes: [],
  concerns(event) {
    switch (event.type) {
      case 'VmClaimed':
      case 'VmAwaited':
      case 'VmBackupEnded':
      case 'VmReleased':
      case 'BackupTriggered':
      case 'BackupCancelled':
      case 'RecoveryTriggered':
      case 'RecoveryCancelled':
        return [{ hostId: event.data.hostId, vmId: event.data.vmId }];
      default:
        return [];
    }
  },
  evolve(row, event) {
    switch (event.type) {
      case 'VmAwaited': {
        const vm = row ?? blank(event.data);
        const { runId, asked } = event.data;
        const { purpose, priority, requestedAt: askedAt } = asked;
        return knownTurn(vm, runId) === undefined
          ? { ...vm, queued: inLine(vm.queued, { purpose, runId, priority, askedAt }) }
          : vm;
      }
      // It does not say what claims. What waited is known; what did not is triggered in the same append.
      case 'VmClaimed': {
        const vm = row ?? blank(event.data);
        const { runId } = event.data;
        return claimed(vm, knownTurn(vm, runId) ?? { purpose: 'backup', runId });
      }
      case 'BackupTriggered':
        return claimed(row ?? blank(event.data), { purpose: 'backup', runId: event.data.backupId });
      case 'RecoveryTriggered':
        return claimed(row ?? blank(event.data), { purpose: 'recovery', runId: event.data.recoveryId });
      case 'VmBackupEnded':
        return ended(row ?? blank(event.data), event);
      case 'VmReleased':
        return released(row ?? blank(event.data), event);
      case 'BackupCancelled':
        return row === undefined ? undefined : withoutQueued(row, event.data.backupId);
      case 'RecoveryCancelled':
        return row === undefined ? undefined : withoutQueued(row, event.data.recoveryId);
      default:
        return row;
    }
  },
};

const knownTurn = (vm: Row, runId: string): Turn | undefined =>
  vm.running?.runId === runId ? vm.running : vm.queued.find((turn) => turn.runId === runId);

const claimed = (vm: Row, { purpose, runId }: Turn): Row => ({
  ...withoutQueued(vm, runId),
  running: { purpose, runId },
});

/** As the trigger has them take their turns. */
function inLine(queued: readonly Queued[], newest: Queued): Queued[] {
  const after = queued.findIndex((other) => turnOf(newest) < turnOf(other));
  return queued.toSpliced(after === -1 ? queued.length : after, 0, newest);
}

/** The turn may last longer than the backup: the host has to have everything back first. */
function ended(vm: Row, event: Recorded<'VmBackupEnded' | 'VmReleased'>): Row {
  const { runId, outcome, restorePoint } = event.data;
  return {
    ...vm,
    lastBackupId: runId,
    lastOutcome: outcome,
    lastEndedAt: vm.lastBackupId === runId ? vm.lastEndedAt : event.recordedAt,
    ...(restorePoint === null
      ? {}
      : { lastRestorePoint: restorePoint, lastRestorePointAt: restorePoint.takenAt }),
  };
}

function released(vm: Row, event: Recorded<'VmReleased'>): Row {
  const { runId } = event.data;
  const isRecovery = knownTurn(vm, runId)?.purpose === 'recovery';
  return {
    ...withoutQueued(isRecovery ? vm : ended(vm, event), runId),
    running: vm.running?.runId === runId ? null : vm.running,
  };
}

const withoutQueued = (vm: Row, runId: string): Row =>
  vm.queued.some((queued) => queued.runId === runId)
    ? { ...vm, queued: vm.queued.filter((queued) => queued.runId !== runId) }
    : vm;

const blank = ({ hostId, vmId }: { hostId: string; vmId: string }): Row => ({
  hostId,
  vmId,
  running: null,
  queued: [],
  lastBackupId: null,
  lastOutcome: null,
  lastEndedAt: null,
  lastRestorePoint: null,
  lastRestorePointAt: null,
});

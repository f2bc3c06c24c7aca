/** Source VMs: whose turn it is, who waits, how the last backup ended, and the newest restore point. */
import type { consoleApi, Recorded } from '@backhaul/contracts';
import type { Folded, Projection } from '../projection.ts';

type VmView = consoleApi.VmView;
type Row = Folded<VmView>;

export const vms: Projection<VmView> = {
  table: 'vms',
  key: ['hostId', 'vmId'],
  columns: {
    hostId: 'text',
    vmId: 'text',
    runningBackupId: 'text',
    queuedBackupIds: 'text[]',
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
      case 'BackupCancelled':
        return [{ hostId: event.data.hostId, vmId: event.data.vmId }];
      default:
        return [];
    }
  },
  evolve(row, event) {
    switch (event.type) {
      case 'VmAwaited': {
        const vm = row ?? blank(event.data);
        const { backupId } = event.data;
        return vm.queuedBackupIds.includes(backupId)
          ? vm
          : { ...vm, queuedBackupIds: [...vm.queuedBackupIds, backupId] };
      }
      case 'VmClaimed': {
        const vm = row ?? blank(event.data);
        return { ...withoutQueued(vm, event.data.backupId), runningBackupId: event.data.backupId };
      }
      case 'VmBackupEnded':
        return ended(row ?? blank(event.data), event);
      case 'VmReleased':
        return released(row ?? blank(event.data), event);
      case 'BackupCancelled':
        return row === undefined ? undefined : withoutQueued(row, event.data.backupId);
      default:
        return row;
    }
  },
};

/** The turn may last longer than the backup: the host has to have everything back first. */
function ended(vm: Row, event: Recorded<'VmBackupEnded' | 'VmReleased'>): Row {
  const { backupId, outcome, restorePoint } = event.data;
  return {
    ...vm,
    lastBackupId: backupId,
    lastOutcome: outcome,
    lastEndedAt: vm.lastBackupId === backupId ? vm.lastEndedAt : event.recordedAt,
    ...(restorePoint === null
      ? {}
      : { lastRestorePoint: restorePoint, lastRestorePointAt: restorePoint.takenAt }),
  };
}

function released(vm: Row, event: Recorded<'VmReleased'>): Row {
  const { backupId } = event.data;
  return {
    ...withoutQueued(ended(vm, event), backupId),
    runningBackupId: vm.runningBackupId === backupId ? null : vm.runningBackupId,
  };
}

const withoutQueued = (vm: Row, backupId: string): Row =>
  vm.queuedBackupIds.includes(backupId)
    ? { ...vm, queuedBackupIds: vm.queuedBackupIds.filter((queued) => queued !== backupId) }
    : vm;

const blank = ({ hostId, vmId }: { hostId: string; vmId: string }): Row => ({
  hostId,
  vmId,
  runningBackupId: null,
  queuedBackupIds: [],
  lastBackupId: null,
  lastOutcome: null,
  lastEndedAt: null,
  lastRestorePoint: null,
  lastRestorePointAt: null,
});

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
      case 'VmReleased':
        return released(row ?? blank(event.data), event);
      case 'BackupCancelled':
        return row === undefined ? undefined : withoutQueued(row, event.data.backupId);
      default:
        return row;
    }
  },
};

function released(vm: Row, event: Recorded<'VmReleased'>): Row {
  const { backupId, outcome, restorePoint } = event.data;
  return {
    ...withoutQueued(vm, backupId),
    runningBackupId: vm.runningBackupId === backupId ? null : vm.runningBackupId,
    lastBackupId: backupId,
    lastOutcome: outcome,
    lastEndedAt: event.recordedAt,
    ...(restorePoint === null
      ? {}
      : { lastRestorePoint: restorePoint, lastRestorePointAt: restorePoint.takenAt }),
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

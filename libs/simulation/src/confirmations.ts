/** A host that never fails: how long it takes over an action, and the events that confirm it. */
import { unreachable } from '@backhaul/kernel';
import { type Action, type BackupOrder, deactivated, directProxyId, type HostEvent } from '@backhaul/pool';
import type { HostAbilities } from './workload.ts';

export function secondsOf(action: Action, abilities: HostAbilities): number {
  switch (action.type) {
    case 'TakeSnapshot':
    case 'CreateTarget':
      return abilities.snapshotSeconds;
    case 'ReleaseSnapshot':
    case 'KeepTarget':
    case 'DiscardTarget':
    case 'LeaveTarget':
    case 'FillTarget':
      return abilities.releaseSeconds;
    case 'ActivateProxy':
      return abilities.proxyBootSeconds;
    case 'DeactivateProxy':
      return abilities.proxyStopSeconds;
    case 'AttachDisk':
      return abilities.attachSeconds;
    case 'DetachDisk':
      return abilities.detachSeconds;
    case 'OpenDirectEndpoint':
      return abilities.directOpenSeconds;
    case 'RemoveStray':
      return 0;
    default:
      return unreachable(action);
  }
}

/** Nothing is written or filled in a simulation of backups, and no host has strays: those actions are never asked for. */
export function confirmationOf(hostId: string, action: Action, now: number): HostEvent[] {
  switch (action.type) {
    case 'TakeSnapshot':
      return [snapshotOf(action.order, now)];
    case 'ReleaseSnapshot': {
      const { runId, vmId } = action.order;
      return [{ type: 'SnapshotReleased', data: { hostId, runId, vmId, checkpoints: action.checkpoints } }];
    }
    case 'ActivateProxy': {
      const { proxyId } = action;
      return [{ type: 'ProxyActivated', data: { hostId, proxyId, ports: portsOf(action.ports) } }];
    }
    case 'DeactivateProxy':
      return deactivated(hostId, action, new Date(now).toISOString());
    case 'AttachDisk': {
      const { proxyId, runId, diskId } = action;
      return [{ type: 'DiskAttached', data: { hostId, runId, proxyId, diskId, exportName: diskId } }];
    }
    case 'DetachDisk': {
      const { proxyId, runId, diskId } = action;
      return [{ type: 'DiskDetached', data: { hostId, runId, proxyId, diskId } }];
    }
    case 'OpenDirectEndpoint': {
      const { runId, disks, maxDirectStreams } = action.order;
      const exports = Object.fromEntries(disks.map(({ diskId }) => [diskId, diskId]));
      const data = {
        hostId,
        runId,
        proxyId: directProxyId(runId),
        ports: portsOf(maxDirectStreams),
        exports,
      };
      return [{ type: 'DirectEndpointOpened', data }];
    }
    default:
      throw new Error(`A simulated host was asked to ${action.type}`);
  }
}

const ENDPOINT = 'nbd+unix:///?socket=/simulated';
const portsOf = (count: number) => Array.from({ length: count }, (_, port) => ({ port, endpoint: ENDPOINT }));

function snapshotOf({ hostId, runId, vmId, disks, childJobs }: BackupOrder, now: number): HostEvent {
  const takenAt = new Date(now).toISOString();
  const frozen = disks.map(({ diskId, kind }) => {
    const sizeBytes = childJobs.reduce((sum, job) => (job.diskId === diskId ? sum + job.length : sum), 0);
    return {
      ...{ diskId, sizeBytes, kind, identity: { format: 'qcow2', inode: diskId, sizeBytes } },
      ...{ fallbackReason: null, endpoint: ENDPOINT, changedContext: null, checkpoint: runId },
    };
  });
  return {
    type: 'SnapshotTaken',
    data: { hostId, runId, vmId, takenAt, pauseMilliseconds: 0, disks: frozen },
  };
}

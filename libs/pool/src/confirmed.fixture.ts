/** What a host that never fails says of an action when it is done. */
import { MiB } from '@backhaul/kernel';
import type { Action } from './actions.ts';
import { deactivated } from './confirmation.ts';
import { type BackupOrder, directProxyId, type HostEvent } from './pool.ts';

const HOST = 'lab';
/** What an instant recovery has to fill. */
export const FILL_BYTES = 64 * MiB;

/** `at`: what the host's clock says. */
export function confirmed(action: Action, at = '2026-01-01T00:00:00.000Z'): HostEvent[] {
  switch (action.type) {
    case 'TakeSnapshot':
      return [snapshotOf(action.order)];
    case 'ReleaseSnapshot': {
      const { hostId, runId, vmId } = action.order;
      return [{ type: 'SnapshotReleased', data: { hostId, runId, vmId, checkpoints: action.checkpoints } }];
    }
    case 'CreateTarget': {
      const { hostId, runId, vmId, disks } = action.order;
      const created = disks.map(({ diskId, sizeBytes }) => ({
        ...{ diskId, sizeBytes },
        endpoint: `nbd+unix:///${diskId}?socket=/host`,
      }));
      return [{ type: 'TargetCreated', data: { hostId, runId, vmId, disks: created } }];
    }
    case 'KeepTarget': {
      const { hostId, runId, vmId, start: started } = action.order;
      return [{ type: 'TargetKept', data: { hostId, runId, vmId, started, notStarted: null } }];
    }
    case 'FillTarget': {
      const { hostId, runId } = action.order;
      return [{ type: 'FillProgressed', data: { hostId, runId, filledBytes: 0, totalBytes: FILL_BYTES } }];
    }
    case 'LeaveTarget': {
      const { hostId, runId, vmId } = action.order;
      return [{ type: 'TargetLeft', data: { hostId, runId, vmId } }];
    }
    case 'DiscardTarget': {
      const { hostId, runId, vmId } = action.order;
      return [{ type: 'TargetDiscarded', data: { hostId, runId, vmId } }];
    }
    case 'ActivateProxy': {
      const ports = Array.from({ length: action.ports }, (_, port) => ({
        port,
        endpoint: `nbd+unix:///?socket=/${action.proxyId}/${port}`,
      }));
      return [{ type: 'ProxyActivated', data: { hostId: HOST, proxyId: action.proxyId, ports } }];
    }
    case 'DeactivateProxy':
      return deactivated(HOST, action, at);
    case 'AttachDisk': {
      const { proxyId, runId, diskId } = action;
      return [
        {
          type: 'DiskAttached',
          data: { hostId: HOST, runId, proxyId, diskId, exportName: `${runId}.${diskId}` },
        },
      ];
    }
    case 'DetachDisk': {
      const { proxyId, runId, diskId } = action;
      return [{ type: 'DiskDetached', data: { hostId: HOST, runId, proxyId, diskId } }];
    }
    case 'OpenDirectEndpoint': {
      const { runId, disks, maxDirectStreams } = action.order;
      const ports = Array.from({ length: maxDirectStreams }, (_, port) => ({
        port,
        endpoint: 'nbd+unix:///?socket=/host',
      }));
      const exports = Object.fromEntries(disks.map(({ diskId }) => [diskId, `${runId}.${diskId}`]));
      return [
        {
          type: 'DirectEndpointOpened',
          data: { hostId: HOST, runId, proxyId: directProxyId(runId), ports, exports },
        },
      ];
    }
    case 'RemoveStray':
      return [];
  }
}

const snapshotOf = (order: BackupOrder): HostEvent => ({
  type: 'SnapshotTaken',
  data: {
    hostId: order.hostId,
    runId: order.runId,
    vmId: order.vmId,
    takenAt: order.requestedAt,
    pauseMilliseconds: 0,
    disks: order.disks.map(({ diskId, kind }) => ({
      diskId,
      sizeBytes: 64 * MiB,
      identity: { format: 'qcow2', inode: '1', sizeBytes: 64 * MiB },
      kind,
      fallbackReason: null,
      endpoint: `nbd+unix:///${diskId}?socket=/host`,
      changedContext: null,
      checkpoint: null,
    })),
  },
});

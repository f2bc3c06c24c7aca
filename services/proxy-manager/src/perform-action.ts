/**
 * Does at the hypervisor what next-steps.ts decided, and says in events what came of it. Leaves retries to the worker: a
 * Fault thrown here is the host's, and `givenUp` says what it means when the retries are used up.
 */
import type { SnapshotDisk } from '@backhaul/contracts';
import type { HypervisorHost } from '@backhaul/hypervisor';
import { describeError, hasCode, type Refusal, unreachable } from '@backhaul/kernel';
import type { Action } from './actions.ts';
import { directProxyId, type HostEvent, type Order, type Pool } from './pool.ts';
import { failure } from './run-steps.ts';

/** The events that confirm the action. */
export async function performAction(host: HypervisorHost, action: Action): Promise<HostEvent[]> {
  const { hostId } = host;
  switch (action.type) {
    case 'TakeSnapshot':
      return takeSnapshot(host, action);
    case 'ReleaseSnapshot': {
      const { backupId, vmId } = action.order;
      await host.releaseSnapshot(backupId, vmId, action.checkpoints);
      return [
        { type: 'SnapshotReleased', data: { hostId, backupId, vmId, checkpoints: action.checkpoints } },
      ];
    }
    case 'ActivateProxy': {
      const { proxyId, ports: portCount, deadlineSeconds } = action;
      const { ports } = await host.activateProxy({ proxyId, ports: portCount, deadlineSeconds });
      return [{ type: 'ProxyActivated', data: { hostId, proxyId, ports } }];
    }
    case 'DeactivateProxy': {
      await host.deactivateProxy(action.proxyId);
      return deactivated(hostId, action);
    }
    case 'AttachDisk': {
      const { proxyId, backupId, diskId } = action;
      const { exportName } = await host.attachDisk({ proxyId, snapshotId: backupId, diskId });
      return [{ type: 'DiskAttached', data: { hostId, backupId, proxyId, diskId, exportName } }];
    }
    case 'DetachDisk': {
      const { proxyId, backupId, diskId } = action;
      await host.detachDisk({ proxyId, snapshotId: backupId, diskId });
      return [{ type: 'DiskDetached', data: { hostId, backupId, proxyId, diskId } }];
    }
    case 'OpenDirectEndpoint': {
      const { backupId, maxDirectStreams } = action.order;
      const { ports, exportNameOf } = await host.openDirectEndpoint(backupId, maxDirectStreams);
      const proxyId = directProxyId(backupId);
      return [
        { type: 'DirectEndpointOpened', data: { hostId, backupId, proxyId, ports, exports: exportNameOf } },
      ];
    }
    case 'RemoveStray':
      return removeStray(host, action);
    default:
      return unreachable(action);
  }
}

/** What was attached is gone with the proxy: each run hears of its own disks. */
export const deactivated = (
  hostId: string,
  { proxyId, reason, attachments }: Extract<Action, { type: 'DeactivateProxy' }>,
): HostEvent[] => [
  ...attachments.map(
    ({ backupId, diskId }): HostEvent => ({
      type: 'DiskDetached',
      data: { hostId, backupId, proxyId, diskId },
    }),
  ),
  { type: 'ProxyDeactivated', data: { hostId, proxyId, reason } },
];

async function takeSnapshot(
  host: HypervisorHost,
  { order, takenAt: takenBefore }: Extract<Action, { type: 'TakeSnapshot' }>,
): Promise<HostEvent[]> {
  const { hostId, backupId, vmId, disks } = order;
  const taken = await host.takeSnapshot({ snapshotId: backupId, vmId, disks });
  if (!taken.ok) return [{ type: 'RunFailed', data: { hostId, backupId, vmId, refusal: taken.refusal } }];
  const { takenAt, pauseMilliseconds, consistency } = taken.value;
  const changed =
    anotherInstant(order, takenBefore, takenAt) ?? changedSincePlanning(order, taken.value.disks);
  if (changed !== undefined)
    return [{ type: 'RunFailed', data: { hostId, backupId, vmId, refusal: changed } }];
  const data = {
    ...{ hostId, backupId, vmId, takenAt, pauseMilliseconds, disks: [...taken.value.disks] },
    ...(consistency === undefined ? {} : { consistency }),
  };
  return [{ type: 'SnapshotTaken', data }];
}

/** What was read before is of the first instant; a restore point must not mix two. */
const anotherInstant = (order: Order, before: string | null, now: string): Refusal | undefined =>
  before === null || before === now
    ? undefined
    : {
        code: 'SnapshotLost',
        message: `The snapshot of vm ${order.vmId} taken at ${before} is gone, and the one taken instead is of ${now}.`,
        wayOut: 'Start the backup again.',
      };

/** The child jobs must cover every disk as it was frozen, or the restore point would have holes nobody knows of. */
function changedSincePlanning(order: Order, disks: readonly SnapshotDisk[]): Refusal | undefined {
  for (const { diskId } of order.disks) {
    const planned = order.childJobs
      .filter((job) => job.diskId === diskId)
      .reduce((sum, job) => sum + job.length, 0);
    const frozen = disks.find((disk) => disk.diskId === diskId)?.sizeBytes;
    if (frozen === planned) continue;
    return {
      code: 'DiskChangedSincePlanning',
      message: `Disk ${diskId} of vm ${order.vmId} had ${planned} bytes when the backup was planned and ${frozen ?? 'is gone'} at the snapshot.`,
      wayOut: 'Start the backup again.',
    };
  }
  return undefined;
}

async function removeStray(
  host: HypervisorHost,
  { what, id, vmId }: Extract<Action, { type: 'RemoveStray' }>,
): Promise<HostEvent[]> {
  if (what === 'proxy') await host.deactivateProxy(id);
  else await host.releaseSnapshot(id, vmId, 'discarded');
  const data = {
    hostId: host.hostId,
    what: `${what} ${id}`,
    expected: 'absent',
    found: 'present',
    repair: 'removed',
  };
  return [{ type: 'DriftFound', data }];
}

/** How often an action is tried before `givenUp` speaks. What must be given back is tried for ever. */
export function triesOf(action: Action): number {
  switch (action.type) {
    case 'TakeSnapshot':
    case 'OpenDirectEndpoint':
      return 5;
    case 'AttachDisk':
      return 3;
    case 'ActivateProxy':
      return 1;
    default:
      return Number.POSITIVE_INFINITY;
  }
}

/** The snapshot's trouble, not the proxy's: other runs on the proxy go on. */
const isOfTheSnapshot = (error: unknown): boolean =>
  hasCode(error, 'SnapshotLost', 'SnapshotUnknown', 'DiskUnknown', 'ImageInUse');

/** What it means for the pool that an action cannot be done. */
export function givenUp(pool: Pool, action: Action, error: unknown): HostEvent[] {
  const { hostId } = pool;
  const reason = describeError(error);
  switch (action.type) {
    case 'TakeSnapshot':
    case 'OpenDirectEndpoint': {
      const run = pool.runs.get(action.order.backupId);
      if (run === undefined || run.outcome !== undefined) return [];
      const code = action.type === 'TakeSnapshot' ? 'SnapshotFailed' : 'DirectEndpointFailed';
      const wayOut = 'Mend the cause named, then start the backup again.';
      return [
        failure(run, { code, message: `Vm ${action.order.vmId} on host ${hostId}: ${reason}`, wayOut }),
      ];
    }
    case 'ActivateProxy':
      return [
        {
          type: 'ProxyLost',
          data: { hostId, proxyId: action.proxyId, reason: `it did not come up: ${reason}` },
        },
      ];
    case 'AttachDisk': {
      const run = pool.runs.get(action.backupId);
      if (isOfTheSnapshot(error)) {
        if (run === undefined || run.outcome !== undefined) return [];
        const message = `Disk ${action.diskId} of vm ${run.order.vmId} on host ${hostId}: ${reason}`;
        return [failure(run, { code: 'SnapshotLost', message, wayOut: 'Start the backup again.' })];
      }
      const lost = `disk ${action.diskId} of backup ${action.backupId} could not be attached: ${reason}`;
      return [{ type: 'ProxyLost', data: { hostId, proxyId: action.proxyId, reason: lost } }];
    }
    default:
      return [];
  }
}

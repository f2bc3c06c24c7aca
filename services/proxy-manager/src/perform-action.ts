/**
 * Does at the hypervisor what the pool asks for (libs/pool, next-steps.ts), and says in events what came of it. Leaves retries to the worker: a
 * Fault thrown here is the host's, and `givenUp` says what it means when the retries are used up.
 */
import type { SnapshotDisk } from '@backhaul/contracts';
import type { HypervisorHost, TargetOrder } from '@backhaul/hypervisor';
import { type Refusal, unreachable } from '@backhaul/kernel';
import {
  type Action,
  type BackupOrder,
  deactivated,
  directProxyId,
  failureOf,
  type HostEvent,
  type RecoveryOrder,
} from '@backhaul/pool';

/** The events that confirm the action. */
export async function performAction(host: HypervisorHost, action: Action): Promise<HostEvent[]> {
  const { hostId } = host;
  switch (action.type) {
    case 'TakeSnapshot':
      return takeSnapshot(host, action);
    case 'ReleaseSnapshot': {
      const { runId, vmId } = action.order;
      await host.releaseSnapshot(runId, vmId, action.checkpoints);
      return [{ type: 'SnapshotReleased', data: { hostId, runId, vmId, checkpoints: action.checkpoints } }];
    }
    case 'CreateTarget':
      return createTarget(host, action);
    case 'KeepTarget':
      return keepTarget(host, action.order);
    case 'FillTarget':
      return fillTarget(host, action.order);
    case 'LeaveTarget': {
      const { runId, vmId } = action.order;
      await host.leaveTarget(runId, vmId);
      return [{ type: 'TargetLeft', data: { hostId, runId, vmId } }];
    }
    case 'DiscardTarget': {
      const { runId, vmId } = action.order;
      await host.discardTarget(runId, vmId);
      return [{ type: 'TargetDiscarded', data: { hostId, runId, vmId } }];
    }
    case 'ActivateProxy': {
      const { proxyId, ports: portCount, deadlineSeconds } = action;
      const { ports, characteristics } = await host.activateProxy({
        proxyId,
        ports: portCount,
        deadlineSeconds,
      });
      const known = characteristics === undefined ? {} : { characteristics };
      return [{ type: 'ProxyActivated', data: { hostId, proxyId, ports, ...known } }];
    }
    case 'DeactivateProxy': {
      await host.deactivateProxy(action.proxyId);
      return deactivated(hostId, action, new Date().toISOString());
    }
    case 'AttachDisk': {
      const { proxyId, runId, diskId, access } = action;
      const { exportName } = await host.attachDisk({ proxyId, ownerId: runId, diskId, access });
      return [{ type: 'DiskAttached', data: { hostId, runId, proxyId, diskId, exportName } }];
    }
    case 'DetachDisk': {
      const { proxyId, runId, diskId } = action;
      await host.detachDisk({ proxyId, ownerId: runId, diskId });
      return [{ type: 'DiskDetached', data: { hostId, runId, proxyId, diskId } }];
    }
    case 'OpenDirectEndpoint': {
      const { runId, maxDirectStreams } = action.order;
      const { ports, exportNameOf } = await host.openDirectEndpoint(runId, maxDirectStreams);
      const proxyId = directProxyId(runId);
      return [
        { type: 'DirectEndpointOpened', data: { hostId, runId, proxyId, ports, exports: exportNameOf } },
      ];
    }
    case 'RemoveStray':
      return removeStray(host, action);
    default:
      return unreachable(action);
  }
}

async function takeSnapshot(
  host: HypervisorHost,
  { order, takenAt: takenBefore }: Extract<Action, { type: 'TakeSnapshot' }>,
): Promise<HostEvent[]> {
  const { hostId, runId, vmId, disks } = order;
  const taken = await host.takeSnapshot({ snapshotId: runId, vmId, disks });
  if (!taken.ok) return [failureOf(order, taken.refusal)];
  const { takenAt, pauseMilliseconds, consistency } = taken.value;
  const changed =
    anotherInstant(order, takenBefore, takenAt) ?? changedSincePlanning(order, taken.value.disks);
  if (changed !== undefined) return [failureOf(order, changed)];
  const data = {
    ...{ hostId, runId, vmId, takenAt, pauseMilliseconds, disks: [...taken.value.disks] },
    ...(consistency === undefined ? {} : { consistency }),
  };
  return [{ type: 'SnapshotTaken', data }];
}

const targetOrder = ({ runId, vmId, disks, replace, machine }: RecoveryOrder): TargetOrder => ({
  targetId: runId,
  ...{ vmId, disks, replace, machine },
});

async function createTarget(
  host: HypervisorHost,
  { order, again, mounts }: Extract<Action, { type: 'CreateTarget' }>,
): Promise<HostEvent[]> {
  const { hostId, runId, vmId } = order;
  const created = await host.createTarget({
    ...targetOrder(order),
    again,
    ...(mounts === undefined ? {} : { mounts }),
  });
  if (!created.ok) return [failureOf(order, created.refusal)];
  return [{ type: 'TargetCreated', data: { hostId, runId, vmId, disks: [...created.value.disks] } }];
}

/** All is written. When the host refuses to make a VM of it (one of that name has appeared) the run has failed after all. */
async function keepTarget(host: HypervisorHost, order: RecoveryOrder): Promise<HostEvent[]> {
  const { hostId, runId, vmId, start } = order;
  const kept = await host.keepTarget({ targetId: runId, vmId, start });
  if (!kept.ok) return [failureOf(order, kept.refusal)];
  return [{ type: 'TargetKept', data: { hostId, runId, vmId, ...kept.value } }];
}

async function fillTarget(host: HypervisorHost, order: RecoveryOrder): Promise<HostEvent[]> {
  const { hostId, runId, vmId, instant } = order;
  const bytesPerSecond = instant?.fillBytesPerSecond ?? null;
  const { filledBytes, totalBytes, filled } = await host.fillTarget({
    targetId: runId,
    vmId,
    bytesPerSecond,
  });
  return filled
    ? [{ type: 'TargetFilled', data: { hostId, runId, vmId, filledBytes } }]
    : [{ type: 'FillProgressed', data: { hostId, runId, filledBytes, totalBytes } }];
}

/** What was read before is of the first instant; a restore point must not mix two. */
const anotherInstant = (order: BackupOrder, before: string | null, now: string): Refusal | undefined =>
  before === null || before === now
    ? undefined
    : {
        code: 'SnapshotLost',
        message: `The snapshot of vm ${order.vmId} taken at ${before} is gone, and the one taken instead is of ${now}.`,
        wayOut: 'Start the backup again.',
      };

/** The child jobs must cover every disk as it was frozen, or the restore point would have holes nobody knows of. */
function changedSincePlanning(order: BackupOrder, disks: readonly SnapshotDisk[]): Refusal | undefined {
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
  else if (what === 'snapshot') await host.releaseSnapshot(id, vmId, 'discarded');
  else await host.discardTarget(id, vmId);
  const data = {
    hostId: host.hostId,
    what: `${what} ${id}`,
    expected: 'absent',
    found: 'present',
    repair: 'removed',
  };
  return [{ type: 'DriftFound', data }];
}

/**
 * Does at the hypervisor what next-steps.ts decided, and says in events what came of it. Leaves retries to the worker: a
 * Fault thrown here is the host's, and `givenUp` says what it means when the retries are used up.
 */
import type { SnapshotDisk } from '@backhaul/contracts';
import type { HypervisorHost, TargetOrder } from '@backhaul/hypervisor';
import { describeError, hasCode, type Refusal, unreachable } from '@backhaul/kernel';
import type { Action } from './actions.ts';
import { confirmsSomething } from './confirmation.ts';
import {
  type BackupOrder,
  directProxyId,
  failureOf,
  type HostEvent,
  type Pool,
  type RecoveryOrder,
} from './pool.ts';

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
      const { ports } = await host.activateProxy({ proxyId, ports: portCount, deadlineSeconds });
      return [{ type: 'ProxyActivated', data: { hostId, proxyId, ports } }];
    }
    case 'DeactivateProxy': {
      await host.deactivateProxy(action.proxyId);
      return deactivated(hostId, action);
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

/** What was attached is gone with the proxy: each run hears of its own disks. */
export const deactivated = (
  hostId: string,
  { proxyId, reason, attachments }: Extract<Action, { type: 'DeactivateProxy' }>,
): HostEvent[] => [
  ...attachments.map(
    ({ runId, diskId }): HostEvent => ({
      type: 'DiskDetached',
      data: { hostId, runId, proxyId, diskId },
    }),
  ),
  { type: 'ProxyDeactivated', data: { hostId, proxyId, reason } },
];

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

/** How often an action is tried before `givenUp` speaks. What must be given back is tried for ever. */
export function triesOf(action: Action): number {
  switch (action.type) {
    case 'TakeSnapshot':
    case 'CreateTarget':
    case 'OpenDirectEndpoint':
      return 5;
    case 'AttachDisk':
      return 3;
    case 'ActivateProxy':
      return 1;
    // About two minutes: an operator may make room meanwhile. After that the disks are discarded, and the recovery ends.
    case 'KeepTarget':
      return 12;
    // Then it is an interruption, and begins anew: how many of those there may be, the run says (instant-steps.ts).
    case 'FillTarget':
      return 3;
    default:
      return Number.POSITIVE_INFINITY;
  }
}

/** The disks' trouble, not the proxy's: other runs on the proxy go on. */
const isOfTheDisks = (error: unknown): boolean =>
  hasCode(
    error,
    'SnapshotLost',
    'SnapshotUnknown',
    'TargetLost',
    'TargetUnknown',
    'DiskUnknown',
    'ImageInUse',
  );

const GIVEN_UP_CODES = {
  TakeSnapshot: 'SnapshotFailed',
  CreateTarget: 'TargetFailed',
  OpenDirectEndpoint: 'DirectEndpointFailed',
} as const;

/** What it means for the pool that an action cannot be done. */
export function givenUp(pool: Pool, action: Action, error: unknown): HostEvent[] {
  const { hostId } = pool;
  const reason = describeError(error);
  switch (action.type) {
    case 'TakeSnapshot':
    case 'CreateTarget':
    case 'OpenDirectEndpoint': {
      const run = pool.runs.get(action.order.runId);
      if (run === undefined || run.outcome !== undefined) return [];
      const code = GIVEN_UP_CODES[action.type];
      const wayOut = `Mend the cause named, then start the ${run.order.purpose} again.`;
      return [
        failureOf(run.order, {
          code,
          message: `Vm ${action.order.vmId} on host ${hostId}: ${reason}`,
          wayOut,
        }),
      ];
    }
    case 'KeepTarget': {
      const refusal = {
        code: 'TargetNotKept',
        message: `The disks of vm ${action.order.vmId} on host ${hostId} are written, but could not be made a VM: ${reason}`,
        wayOut: 'Mend the cause named, then start the recovery again.',
      };
      const failed = failureOf(action.order, refusal);
      return confirmsSomething(pool, failed) ? [failed] : [];
    }
    case 'FillTarget': {
      const { runId } = action.order;
      const interrupted: HostEvent = { type: 'FillInterrupted', data: { hostId, runId, reason } };
      return confirmsSomething(pool, interrupted) ? [interrupted] : [];
    }
    case 'ActivateProxy':
      return [
        {
          type: 'ProxyLost',
          data: { hostId, proxyId: action.proxyId, reason: `it did not come up: ${reason}` },
        },
      ];
    case 'AttachDisk': {
      const run = pool.runs.get(action.runId);
      if (isOfTheDisks(error)) {
        if (run === undefined || run.outcome !== undefined) return [];
        const message = `Disk ${action.diskId} of vm ${run.order.vmId} on host ${hostId}: ${reason}`;
        const code = run.order.purpose === 'backup' ? 'SnapshotLost' : 'TargetLost';
        return [failureOf(run.order, { code, message, wayOut: `Start the ${run.order.purpose} again.` })];
      }
      const lost = `disk ${action.diskId} of run ${action.runId} could not be attached: ${reason}`;
      return [{ type: 'ProxyLost', data: { hostId, proxyId: action.proxyId, reason: lost } }];
    }
    default:
      return [];
  }
}

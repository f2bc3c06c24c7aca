/**
 * The plan of one backup, from what was found at the VM, what was asked, what the policy allows and what is running
 * already. A pure function: the same input gives the same plan, today and in an audit years later. Each rule lives in
 * its own file; this one only puts their answers together.
 */
import {
  type BackupKind,
  CHUNK_BYTES,
  type Inspection,
  type Plan,
  type Policy,
  type Priority,
  type RestorePoint,
  type TransportMode,
} from '@backhaul/contracts';
import { formatBytes, listed, ok, type Result, refuse } from '@backhaul/kernel';
import { CHILD_JOBS_MAX, countChildJobs, cutIntoChildJobs } from './child-jobs.ts';
import { backupKind, chooseDiskKind, type DiskToRead } from './disk-kind.ts';
import { capacityPerProxy, directQuantity, proxyQuantity, READING } from './quantity.ts';
import { amountToRead, bytesToRead } from './threshold-share.ts';
import { chooseMode } from './transport-mode.ts';

export interface PlanRequest {
  readonly backupId: string;
  readonly kind: 'auto' | BackupKind;
  readonly mode: 'auto' | TransportMode;
  readonly parent: RestorePoint | null;
  /** Who comes before whom at the host: carried on as it was asked. */
  readonly priority: Priority;
  readonly askedAt: string;
}

/** The proxies of a VM's host that are up at the moment of planning. */
export interface PoolView {
  /** Up to which event of the host's stream they were seen; a view that comes from no stream has none. */
  readonly hostVersion?: number | undefined;
  readonly activeProxies: readonly { readonly proxyId: string; readonly ports: number }[];
}

export function plan(
  inspection: Inspection,
  request: PlanRequest,
  policy: Policy,
  pool: PoolView,
): Result<Plan> {
  if (inspection.disks.length === 0) return refuse(noDisks(inspection));
  const capacity = capacityPerProxy(policy, READING);
  if (!capacity.ok) return capacity;

  const disks = inspection.disks.map((disk) => chooseDiskKind(disk, request.kind));
  const amount = amountToRead(disks, policy);
  const choice = chooseMode(inspection, amount, request.mode, policy);
  if (!choice.ok) return choice;

  const count = disks.reduce((sum, disk) => sum + countChildJobs(disk, policy.childJobBytes), 0);
  if (count > CHILD_JOBS_MAX) return refuse(tooManyChildJobs(count, bytesToRead(disks), policy));
  const childJobs = disks.flatMap((disk) =>
    cutIntoChildJobs(request.backupId, disk, countChildJobs(disk, policy.childJobBytes)),
  );
  const shareable = pool.activeProxies.filter((proxy) => proxy.ports >= policy.portsPerChildJob).length;
  const load = { childJobs: childJobs.length, capacity: capacity.value, activeProxies: shareable };
  const quantity =
    choice.value.mode === 'proxy-vm'
      ? proxyQuantity(load, policy)
      : directQuantity(childJobs.length, policy, READING);

  return ok({
    backupId: request.backupId,
    hostId: inspection.hostId,
    vmId: inspection.vmId,
    parent: request.parent,
    policy,
    priority: request.priority,
    askedAt: request.askedAt,
    kind: backupKind(disks),
    mode: choice.value.mode,
    modeReason: choice.value.modeReason,
    disks: disks.map(({ density: _, ...disk }) => ({
      ...disk,
      childJobs: childJobs.filter((job) => job.diskId === disk.diskId).length,
    })),
    childJobs,
    arithmetic: {
      totalBytes: bytesToRead(disks),
      childJobBytes: policy.childJobBytes,
      childJobs: childJobs.length,
      maxChildJobsPerProxy: policy.maxChildJobsPerProxy,
      maxPortsPerProxy: policy.maxPortsPerProxy,
      portsPerChildJob: policy.portsPerChildJob,
      capacityPerProxy: capacity.value,
      thresholdShare: amount.share,
      activeProxies: shareable,
    },
    ...quantity,
    rejected: [...choice.value.rejected, ...rejectedIncremental(disks, request.kind)],
    ...seenAt(pool),
  });
}

/** On the record, because a replay has to see the same proxies. */
export const seenAt = ({ hostVersion }: PoolView): Pick<Plan, 'hostVersion'> =>
  hostVersion === undefined ? {} : { hostVersion };

/** An incremental that was asked for and cannot be had is said once more for the whole backup, where people look first. */
function rejectedIncremental(disks: readonly DiskToRead[], requested: PlanRequest['kind']): Plan['rejected'] {
  if (requested !== 'incremental' || backupKind(disks) === 'incremental') return [];
  const why = listed(
    disks.map((disk) => `${disk.diskId}: ${disk.kindReason}`),
    25,
    '; ',
  );
  return [{ what: 'incremental', why: `no disk has usable change tracking (${why})` }];
}

const tooManyChildJobs = (count: number, bytes: number, { policyId, childJobBytes }: Policy) => ({
  code: 'TooManyChildJobs',
  message: `Policy ${policyId} makes ${count} child jobs of ${formatBytes(bytes)} (childJobBytes is ${childJobBytes}), and a plan holds ${CHILD_JOBS_MAX}.`,
  wayOut: `Set childJobBytes to at least ${Math.ceil((2 * bytes) / CHILD_JOBS_MAX / CHUNK_BYTES) * CHUNK_BYTES} in policy ${policyId}.`,
});

const noDisks = (inspection: Inspection) => ({
  code: 'VmHasNoDisks',
  message: `VM ${inspection.vmId} on host ${inspection.hostId} has no disks to back up.`,
  wayOut: 'Add a disk to the VM, or remove it from the schedule.',
});

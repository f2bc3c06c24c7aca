/**
 * The plan of one recovery, from what was found in the restore point and at the host, what was asked, and what is running
 * already. A pure function beside `plan.ts`, of the same rules: the mode by the bytes to write, the disks cut by where their
 * data is, and the second quantity of proxies.
 */
import type { Policy, RecoveryAsked, RecoveryInspection, RecoveryPlan } from '@backhaul/contracts';
import { formatBytes, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import {
  CHILD_JOBS_MAX,
  countStreams,
  cutIntoChildJobs,
  type DiskToCut,
  STREAM_BYTES_MIN,
} from './child-jobs.ts';
import { counted } from './counted.ts';
import { bytesIn } from './density.ts';
import { type PoolView, seenAt } from './plan.ts';
import { planInstant } from './plan-instant.ts';
import { capacityPerProxy, directQuantity, WRITING } from './quantity.ts';
import { countedStreams, secondQuantity } from './second-quantity.ts';
import { amountToWrite } from './threshold-share.ts';
import { chooseMode } from './transport-mode.ts';

export function planRecovery(
  triggered: RecoveryAsked,
  inspection: RecoveryInspection,
  pool: PoolView,
): Result<RecoveryPlan> {
  const { policy } = triggered;
  const inTheWay = whyNotAtAll(triggered, inspection);
  if (inTheWay !== undefined) return refuse(inTheWay);
  const { instant } = triggered;
  if (instant !== undefined) return planInstant(triggered, instant, inspection, pool);
  const capacity = capacityPerProxy(policy, WRITING);
  if (!capacity.ok) return capacity;

  const disks = inspection.disks.map(
    ({ diskId, sizeBytes, data }): DiskToCut => ({ diskId, sizeBytes, density: data }),
  );
  const amount = amountToWrite(bytesToWrite(inspection), policy);
  const choice = chooseMode(inspection, amount, triggered.mode, policy);
  if (!choice.ok) return choice;

  const count = disks.reduce((sum, disk) => sum + countStreams(disk, policy.maxStreamsPerDisk), 0);
  if (count > CHILD_JOBS_MAX) return refuse(tooManyStreams(count, disks.length, policy));
  const cut = disks.map((disk) =>
    cutIntoChildJobs(triggered.recoveryId, disk, countStreams(disk, policy.maxStreamsPerDisk)),
  );
  const childJobs = cut.flat();
  const streams = countedStreams(disks.length, policy);
  const shareable = pool.activeProxies.filter((proxy) => proxy.ports >= policy.portsPerStream).length;
  const load = { childJobs: childJobs.length, capacity: capacity.value, activeProxies: shareable };
  const fewer = fewerStreams(disks, streams, childJobs.length, policy.maxStreamsPerDisk);
  const direct = directQuantity(childJobs.length, policy, WRITING);
  const quantity =
    choice.value.mode === 'proxy-vm'
      ? secondQuantity(streams, fewer, load, policy)
      : { ...direct, limitedBy: [...fewer, ...direct.limitedBy] };

  return ok({
    recoveryId: triggered.recoveryId,
    backupId: triggered.backupId,
    manifestDigest: triggered.restorePoint.manifestDigest,
    hostId: triggered.hostId,
    vmId: triggered.vmId,
    policy,
    priority: triggered.priority,
    askedAt: triggered.requestedAt,
    mode: choice.value.mode,
    modeReason: choice.value.modeReason,
    disks: disks.map(({ diskId, sizeBytes, density }, index) => ({
      diskId,
      sizeBytes,
      bytesToWrite: bytesIn(density),
      streams: cut[index]?.length ?? 0,
    })),
    childJobs,
    replace: triggered.replace,
    start: triggered.start,
    verify: triggered.verify,
    machine: triggered.machine,
    arithmetic: {
      totalBytes: bytesToWrite(inspection),
      disks: disks.length,
      maxStreamsPerDisk: policy.maxStreamsPerDisk,
      streams,
      portsPerStream: policy.portsPerStream,
      maxPortsPerProxy: policy.maxPortsPerProxy,
      maxChildJobsPerProxy: policy.maxChildJobsPerProxy,
      capacityPerProxy: capacity.value,
      thresholdShare: amount.share,
      activeProxies: shareable,
    },
    ...quantity,
    rejected: choice.value.rejected,
    ...seenAt(pool),
  });
}

const bytesToWrite = ({ disks }: RecoveryInspection): number =>
  disks.reduce((sum, { data }) => sum + bytesIn(data), 0);

function whyNotAtAll(
  { backupId, hostId, vmId, policy }: RecoveryAsked,
  inspection: RecoveryInspection,
): Refusal | undefined {
  if (inspection.disks.length === 0) {
    return {
      code: 'NoDisksToRecover',
      message: `The restore point of backup ${backupId} has no disk to make VM ${vmId} of.`,
      wayOut: 'Ask for the restore point of a backup that has disks.',
    };
  }
  if (policy.maxStreamsPerDisk === 0) {
    return {
      code: 'NoStreamFits',
      message: `Policy ${policy.policyId} lets no data stream write a disk: maxStreamsPerDisk is 0.`,
      wayOut: `Set maxStreamsPerDisk to at least 1 in policy ${policy.policyId}.`,
    };
  }
  const [needed, free] = [bytesToWrite(inspection), inspection.freeBytes];
  if (free === null || free >= needed) return undefined;
  return {
    code: 'NotEnoughSpace',
    message: `VM ${vmId} needs ${formatBytes(needed)} on host ${hostId}, which has ${formatBytes(free)} free: ${counted(needed - free, 'byte')} too few.`,
    wayOut: 'Make room there, recover fewer disks, or recover to another host.',
  };
}

const tooManyStreams = (count: number, disks: number, { policyId, maxStreamsPerDisk }: Policy): Refusal => ({
  code: 'TooManyStreams',
  message: `Policy ${policyId} makes ${count} data streams of ${counted(disks, 'disk')} (maxStreamsPerDisk is ${maxStreamsPerDisk}), and a plan holds ${CHILD_JOBS_MAX}.`,
  wayOut: `Set maxStreamsPerDisk to at most ${Math.max(1, Math.floor(CHILD_JOBS_MAX / disks))} in policy ${policyId}.`,
});

/** The formula counts the streams that a disk may have; one with little data is not worth all of them. */
function fewerStreams(
  disks: readonly DiskToCut[],
  streams: number,
  used: number,
  maxStreamsPerDisk: number,
): RecoveryPlan['limitedBy'] {
  if (used === streams) return [];
  const small = disks.filter((disk) => countStreams(disk, maxStreamsPerDisk) < maxStreamsPerDisk);
  const names = small.map(({ diskId }) => diskId).join(', ');
  return [
    {
      limit: 'streamBytesMin',
      value: STREAM_BYTES_MIN,
      effect: `${counted(used, 'data stream')} instead of ${streams}: one is worth at least ${formatBytes(STREAM_BYTES_MIN)} of data, of which there is too little on ${names}`,
    },
  ];
}

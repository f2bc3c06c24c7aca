/**
 * The plan of an instant recovery: the VM starts at once, and its host fills the disks behind it, from a mount. So nothing is cut, no proxy is
 * calculated, and what would need the whole VM before it runs is refused. Pure.
 */
import type { InstantRecovery, RecoveryAsked, RecoveryInspection, RecoveryPlan } from '@backhaul/contracts';
import { formatBytes, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { bytesIn } from './density.ts';
import { type PoolView, seenAt } from './plan.ts';

export function planInstant(
  triggered: RecoveryAsked,
  instant: InstantRecovery,
  inspection: RecoveryInspection,
  pool: PoolView,
): Result<RecoveryPlan> {
  const inTheWay = whyNotInstant(triggered, inspection);
  if (inTheWay !== undefined) return refuse(inTheWay);
  const { recoveryId, backupId, hostId, vmId, policy, priority, machine, restorePoint } = triggered;
  const disks = inspection.disks.map(({ diskId, sizeBytes, data }) => ({
    ...{ diskId, sizeBytes, bytesToWrite: bytesIn(data), streams: 0 },
  }));
  const speed =
    instant.fillBytesPerSecond === null ? '' : `, at most ${formatBytes(instant.fillBytesPerSecond)}/s`;
  return ok({
    ...{ recoveryId, backupId, manifestDigest: restorePoint.manifestDigest, hostId, vmId, policy },
    ...{ priority, askedAt: triggered.requestedAt },
    mode: 'direct-to-host',
    modeReason: `an instant recovery: the VM starts from a mount, and its host fills its disks behind it${speed}`,
    disks,
    childJobs: [],
    ...{ replace: false, start: true, verify: false, machine, instant },
    arithmetic: {
      totalBytes: disks.reduce((sum, { bytesToWrite }) => sum + bytesToWrite, 0),
      disks: disks.length,
      maxStreamsPerDisk: policy.maxStreamsPerDisk,
      streams: 0,
      portsPerStream: policy.portsPerStream,
      maxPortsPerProxy: policy.maxPortsPerProxy,
      maxChildJobsPerProxy: policy.maxChildJobsPerProxy,
      capacityPerProxy: 0,
      thresholdShare: 0,
      activeProxies: pool.activeProxies.length,
    },
    ...{ proxiesCalculated: 0, proxies: 0, expectedShared: 0, waves: 1, limitedBy: [] },
    rejected: [{ what: 'proxy-vm', why: 'the disks of a VM that runs are written by the VM alone' }],
    ...seenAt(pool),
  });
}

function whyNotInstant(
  { hostId, vmId, replace, verify, mode }: RecoveryAsked,
  { instant }: RecoveryInspection,
): Refusal | undefined {
  const refusal = (why: string, wayOut: string): Refusal => ({
    code: 'InstantUnavailable',
    message: `VM ${vmId} cannot run on host ${hostId} before it is whole: ${why}.`,
    wayOut,
  });
  if (instant?.available !== true)
    return refusal(
      instant?.reason ?? 'the host was not asked whether it can',
      'Recover without an instant start, or to a host of kind qemu.',
    );
  if (replace)
    return refusal(
      'it would take the place of a VM that could not come back if the disks cannot be filled',
      'Recover to another name, or without an instant start.',
    );
  if (verify)
    return refusal(
      'what its guest writes meanwhile could not be told from a difference',
      'Leave out the comparison of all that is written (every chunk that is read is checked), or recover without an instant start.',
    );
  if (mode === 'proxy-vm')
    return refusal(
      'its disks are written by the VM itself, and not through proxies',
      'Leave out the mode, or recover without an instant start.',
    );
  return undefined;
}

/** The plan of a recovery in sentences: whoever reads it can redo the second quantity on paper. One line per decision. */
import type { RecoveryPlan } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';
import { counted } from './counted.ts';
import { explainDirect, explainLimits, explainShared } from './explain-plan.ts';
import { proxiesByPorts } from './second-quantity.ts';

export function explainRecoveryPlan(plan: RecoveryPlan): string[] {
  return [
    `Recovery ${plan.recoveryId} of backup ${plan.backupId} to VM ${plan.vmId} on host ${plan.hostId}: ${plan.mode}, policy ${plan.policy.policyId}.`,
    ...plan.disks.map(explainDisk),
    `Mode ${plan.mode}: ${plan.modeReason}.`,
    ...(plan.instant === undefined ? explainTransport(plan) : [explainFill(plan)]),
  ];
}

function explainTransport(plan: RecoveryPlan): string[] {
  return [
    explainStreams(plan),
    ...(plan.mode === 'proxy-vm' ? explainProxies(plan) : [explainDirect(plan)]),
    ...explainLimits(plan),
  ];
}

/** Where nobody writes it from outside there are no streams. */
const explainDisk = ({ diskId, sizeBytes, bytesToWrite, streams }: RecoveryPlan['disks'][number]): string =>
  `Disk ${diskId} (${formatBytes(sizeBytes)}): ${formatBytes(bytesToWrite)} to write${streams === 0 ? '' : ` in ${counted(streams, 'data stream')}`}.`;

const explainFill = ({ arithmetic: a }: RecoveryPlan): string =>
  `No proxy VM and no data stream: the VM reads ${formatBytes(a.totalBytes)} by itself, while it runs.`;

const explainStreams = ({ arithmetic: a, childJobs }: RecoveryPlan): string =>
  `Data streams: ${counted(a.disks, 'disk')} * maxStreamsPerDisk ${a.maxStreamsPerDisk} = ${a.streams}, ` +
  `${childJobs.length === a.streams ? 'all' : `${childJobs.length} of them`} used, for ${formatBytes(a.totalBytes)} in all.`;

function explainProxies({ arithmetic: a, ...plan }: RecoveryPlan): string[] {
  const byPorts = proxiesByPorts(a.streams, a);
  const ports = `ceil(${a.streams} * portsPerStream ${a.portsPerStream} / maxPortsPerProxy ${a.maxPortsPerProxy}) = ${byPorts}`;
  const calculated =
    plan.proxiesCalculated === byPorts
      ? ports
      : `${ports} by ports alone, ceil(${a.streams} / ${a.capacityPerProxy}) = ${plan.proxiesCalculated} by what one can run`;
  return [
    `One proxy VM runs min(maxChildJobsPerProxy ${a.maxChildJobsPerProxy}, floor(maxPortsPerProxy ${a.maxPortsPerProxy} / portsPerStream ${a.portsPerStream})) = ${counted(a.capacityPerProxy, 'data stream')} at a time.`,
    `Proxy VMs calculated: ${calculated}; used: ${plan.proxies}, ${explainShared(plan.expectedShared, a.activeProxies)}.`,
    `The data streams run in ${counted(plan.waves, 'wave')}.`,
  ];
}

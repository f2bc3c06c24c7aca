/** A plan in sentences, for whoever asks at night why this backup runs the way it does. One line per decision. */
import type { Plan } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';
import { counted } from './counted.ts';

export function explainPlan(plan: Plan): string[] {
  return [
    `Backup ${plan.backupId} of VM ${plan.vmId} on host ${plan.hostId}: ${plan.kind}, ${plan.mode}, policy ${plan.policy.policyId}.`,
    plan.parent === null
      ? 'There is no earlier restore point to build on.'
      : `It builds on the restore point of backup ${plan.parent.backupId}, taken at ${plan.parent.takenAt}.`,
    ...plan.disks.map(explainDisk),
    `Mode ${plan.mode}: ${plan.modeReason}.`,
    explainChildJobs(plan),
    ...(plan.mode === 'proxy-vm' ? explainProxies(plan) : [explainDirect(plan)]),
    ...explainLimits(plan),
  ];
}

export const explainLimits = ({
  limitedBy,
  rejected,
  modeReason,
}: Pick<Plan, 'limitedBy' | 'rejected' | 'modeReason'>): string[] => [
  ...limitedBy.map(({ limit, value, effect }) => `Limited by ${limit} = ${value}: ${effect}.`),
  ...rejected
    // The mode's own line has said it already.
    .filter(({ why }) => why !== modeReason)
    .map(({ what, why }) => `Not used: ${what}, because: ${why}.`),
];

/** How many of the proxies are expected to be there already. */
export const explainShared = (expectedShared: number, activeProxies = expectedShared): string =>
  expectedShared === 0
    ? 'all to be started'
    : `${expectedShared} of them expected to be shared with the ${activeProxies} already active`;

export const explainDirect = ({ policy, waves }: Pick<Plan, 'policy' | 'waves'>): string =>
  `No proxy VMs: the host's own export serves ${counted(policy.maxDirectStreams, 'stream')} at a time, in ${counted(waves, 'wave')}.`;

const explainDisk = (disk: Plan['disks'][number]): string =>
  `Disk ${disk.diskId} (${formatBytes(disk.sizeBytes)}): ${disk.kind}, because: ${disk.kindReason}; ` +
  `${formatBytes(disk.bytesToRead)} to read in ${counted(disk.childJobs, 'child job')}.`;

function explainChildJobs({ arithmetic, disks }: Plan): string {
  const perDisk = disks.map((disk) => disk.childJobs).join(' + ');
  return (
    `Child jobs: ${disks.length === 1 ? arithmetic.childJobs : `${perDisk} = ${arithmetic.childJobs}`}, ` +
    `at most ${formatBytes(arithmetic.childJobBytes)} each, at least one per disk, ` +
    `for ${formatBytes(arithmetic.totalBytes)} in all.`
  );
}

function explainProxies({ arithmetic: a, ...plan }: Plan): string[] {
  return [
    `One proxy VM runs min(maxChildJobsPerProxy ${a.maxChildJobsPerProxy}, floor(maxPortsPerProxy ${a.maxPortsPerProxy} / portsPerChildJob ${a.portsPerChildJob})) = ${counted(a.capacityPerProxy, 'child job')} at a time.`,
    `Proxy VMs calculated: ceil(${a.childJobs} / ${a.capacityPerProxy}) = ${plan.proxiesCalculated}; used: ${plan.proxies}, ${explainShared(plan.expectedShared, a.activeProxies)}.`,
    `The child jobs run in ${counted(plan.waves, 'wave')}.`,
  ];
}

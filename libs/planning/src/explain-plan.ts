/** A plan in sentences, for whoever asks at night why this backup runs the way it does. One line per decision. */
import type { Plan } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';

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
    ...plan.limitedBy.map(({ limit, value, effect }) => `Limited by ${limit} = ${value}: ${effect}.`),
    ...plan.rejected
      // The mode's own line has said it already.
      .filter(({ why }) => why !== plan.modeReason)
      .map(({ what, why }) => `Not used: ${what}, because: ${why}.`),
  ];
}

const explainDisk = (disk: Plan['disks'][number]): string =>
  `Disk ${disk.diskId} (${formatBytes(disk.sizeBytes)}): ${disk.kind}, because: ${disk.kindReason}; ` +
  `${formatBytes(disk.bytesToRead)} to read in ${count(disk.childJobs, 'child job')}.`;

function explainChildJobs({ arithmetic, disks }: Plan): string {
  const perDisk = disks.map((disk) => disk.childJobs).join(' + ');
  return (
    `Child jobs: ${disks.length === 1 ? arithmetic.childJobs : `${perDisk} = ${arithmetic.childJobs}`}, ` +
    `at most ${formatBytes(arithmetic.childJobBytes)} each, at least one per disk, ` +
    `for ${formatBytes(arithmetic.totalBytes)} in all.`
  );
}

function explainProxies({ arithmetic: a, ...plan }: Plan): string[] {
  const shared =
    plan.expectedShared === 0
      ? 'all to be started'
      : `${plan.expectedShared} of them expected to be shared with the ${a.activeProxies ?? plan.expectedShared} already active`;
  return [
    `One proxy VM runs min(maxChildJobsPerProxy ${a.maxChildJobsPerProxy}, floor(maxPortsPerProxy ${a.maxPortsPerProxy} / portsPerChildJob ${a.portsPerChildJob})) = ${count(a.capacityPerProxy, 'child job')} at a time.`,
    `Proxy VMs calculated: ceil(${a.childJobs} / ${a.capacityPerProxy}) = ${plan.proxiesCalculated}; used: ${plan.proxies}, ${shared}.`,
    `The child jobs run in ${count(plan.waves, 'wave')}.`,
  ];
}

const explainDirect = ({ policy, waves }: Plan): string =>
  `No proxy VMs: the host's own export serves ${count(policy.maxDirectStreams, 'stream')} at a time, in ${count(waves, 'wave')}.`;

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

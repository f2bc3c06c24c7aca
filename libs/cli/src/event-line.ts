/** Events in words: one line each, for the story of a backup or a recovery in a terminal. Pure. */
import {
  accelerationWords,
  catalogue,
  type consoleApi,
  type Event,
  type EventType,
  type RecoveryTotals,
} from '@backhaul/contracts';
import { formatBytes, type Refusal, refusalLine } from '@backhaul/kernel';
import { summaryLine } from '@backhaul/planning';

/** As this release knows it; undefined for a type or shape of a newer one. */
export function knownEvent(recorded: consoleApi.RecordedEvent): Event | undefined {
  if (!Object.hasOwn(catalogue, recorded.type)) return undefined;
  const type = recorded.type as EventType;
  const data = catalogue[type].data.safeParse(recorded.data);
  return data.success ? ({ type, data: data.data } as Event) : undefined;
}

/** `+12.345 s  PortsLeased  ...`: time since the first event of the story. */
export function storyLine(recorded: consoleApi.RecordedEvent, firstAt: string): string {
  return `${offsetOf(recorded.recordedAt, firstAt)}  ${recorded.type.padEnd(25)} ${wordsOf(recorded)}`.trimEnd();
}

/** A run of chunks of one child job, told in one line. */
export function chunksLine(chunks: readonly consoleApi.RecordedEvent[], firstAt: string): string {
  const [first] = chunks;
  if (first === undefined) return '';
  const sums = { length: 0, zero: 0, stored: 0 };
  for (const event of chunks.map(knownEvent)) {
    if (event?.type !== 'ChunkReceived' && event?.type !== 'ChunkExported') continue;
    sums.length += event.data.length;
    sums.zero += event.data.digest === null ? event.data.length : 0;
    sums.stored += event.type === 'ChunkReceived' ? event.data.storedBytes : 0;
  }
  const became = first.type === 'ChunkExported' ? 'written' : storedWords(sums.stored);
  const words =
    `${jobName(String(first.data.childJobId))}: ${count(chunks.length, 'chunk')}, ${formatBytes(sums.length)}` +
    `${sums.zero === 0 ? '' : `, ${formatBytes(sums.zero)} of it zero`}, ${became}`;
  return `${offsetOf(first.recordedAt, firstAt)}  ${first.type.padEnd(25)} ${words}`;
}

const storedWords = (bytes: number): string => (bytes === 0 ? 'nothing new' : `${formatBytes(bytes)} stored`);

function offsetOf(at: string, firstAt: string): string {
  const seconds = (Date.parse(at) - Date.parse(firstAt)) / 1000;
  return `+${seconds.toFixed(3)} s`.padStart(12);
}

function wordsOf(recorded: consoleApi.RecordedEvent): string {
  const event = knownEvent(recorded);
  if (event === undefined) return JSON.stringify(recorded.data).slice(0, 160);
  const words = allWords[event.type] as ((data: Event['data']) => string) | undefined;
  return words?.(event.data) ?? '';
}

type Words = { readonly [T in EventType]?: (data: Extract<Event, { type: T }>['data']) => string };

const refusalWords = ({ refusal }: { refusal: unknown }): string => refusalLine(refusal as Refusal);

const requestWords: Words = {
  BackupTriggered: ({ hostId, vmId, kind, mode, origin }) =>
    `VM ${vmId} on host ${hostId}, kind ${kind}, mode ${mode}, asked over ${origin.via} as ${origin.requestId}`,
  BackupQueued: ({ vmId, behind }) => `VM ${vmId} is busy with run ${behind}`,
  BackupRefused: refusalWords,
  BackupCancelled: ({ cancelledBy, reason }) => `by ${cancelledBy}: ${reason}`,
  BackupCancelOrdered: ({ cancelledBy, reason }) => `by ${cancelledBy}: ${reason}`,
  BackupPaused: ({ pausedBy, reason }) => `by ${pausedBy}: ${reason}`,
  BackupResumed: ({ resumedBy, reason }) => `by ${resumedBy}: ${reason}`,
  VmAwaited: ({ vmId, behind }) => `VM ${vmId} is busy with run ${behind}`,
  VmClaimed: ({ vmId }) => `it is this run's turn at VM ${vmId}`,
  VmBackupEnded: ({ vmId, outcome }) => `VM ${vmId}: ${outcome}`,
  VmRecoveryEnded: ({ vmId, outcome }) => `VM ${vmId}: ${outcome}`,
  VmRunClosed: ({ vmId }) => `the host has everything back of VM ${vmId}`,
  VmReleased: ({ vmId, outcome }) => `VM ${vmId}: ${outcome}`,
  VmInspected: ({ disks }) =>
    disks
      .map(({ diskId, sizeBytes, tracking }) => {
        const state = tracking.state === 'usable' ? 'usable' : `unusable: ${tracking.reason}`;
        return `${diskId} ${formatBytes(sizeBytes)} (change tracking ${state})`;
      })
      .join(', '),
  ProxiesCalculated: ({ mode, modeReason, kind, childJobs, proxies, proxiesCalculated, waves }) =>
    `${kind}, ${mode} (${modeReason}); ${count(childJobs.length, 'child job')}, ` +
    `${proxiesCalculated} proxies calculated, ${proxies} to use, ${count(waves, 'wave')}`,
  PlanRefused: refusalWords,
  RecoveryTriggered: ({ backupId, disks, hostId, vmId, mode, replace, origin }) =>
    `backup ${backupId} (${disks.join(', ')}) as VM ${vmId} on host ${hostId}${replace ? ', over the VM of that name' : ''}, mode ${mode}, asked over ${origin.via} as ${origin.requestId}`,
  RecoveryQueued: ({ vmId, behind }) => `VM ${vmId} is busy with run ${behind}`,
  RecoveryRefused: refusalWords,
  RecoveryCancelled: ({ cancelledBy, reason }) => `by ${cancelledBy}: ${reason}`,
  RecoveryCancelOrdered: ({ cancelledBy, reason }) => `by ${cancelledBy}: ${reason}`,
  RecoveryPaused: ({ pausedBy, reason }) => `by ${pausedBy}: ${reason}`,
  RecoveryResumed: ({ resumedBy, reason }) => `by ${resumedBy}: ${reason}`,
  RecoveryInspected: ({ disks, freeBytes }) =>
    `${disks.map(({ diskId, sizeBytes }) => `${diskId} ${formatBytes(sizeBytes)}`).join(', ')}${freeBytes === null ? '' : `; ${formatBytes(freeBytes)} free at the host`}`,
  RecoveryProxiesCalculated: ({ mode, modeReason, childJobs, proxies, proxiesCalculated, waves }) =>
    `${mode} (${modeReason}); ${count(childJobs.length, 'data stream')}, ` +
    `${proxiesCalculated} proxies calculated, ${proxies} to use, ${count(waves, 'wave')}`,
  RecoveryPlanRefused: refusalWords,
  ShadowPlanCalculated: ({ policy, purpose, shadow }) =>
    `under policy ${policy.policyId} it would have been ${summaryLine(shadow, purpose)}`,
  ScheduleApproaching: ({ scheduleId, vmId, dueAt }) =>
    `schedule ${scheduleId} will ask for this backup of VM ${vmId} at ${dueAt}`,
  ScheduleSetBack: ({ scheduleId, from, to }) =>
    `a clock had been ahead: schedule ${scheduleId} stood at ${from}, and goes on ${to === null ? 'as if it had never fired' : `after ${to}`}`,
  DeadLetterRedriven: ({ deadLetterId, consumer, subject, requestedBy, reason }) =>
    `${consumer} gets dead letter ${deadLetterId} again (${subject}), asked by ${requestedBy}: ${reason}`,
};

const limitsOf = (policy: object): string =>
  Object.entries(policy)
    .filter(([, value]) => value !== null)
    .map(([field, value]) => `${field} ${value}`)
    .join(', ') || 'no limits';

const hostWords: Words = {
  HostPolicyDefined: ({ hostId, policy }) => `${hostId}: ${limitsOf(policy)}`,
  DeploymentPolicyDefined: ({ policy }) => limitsOf(policy),
  HostPolicyAdopted: ({ hostId, policy }) => `${hostId}: ${limitsOf(policy)}`,
  HostRegistered: ({ hostId, kind, address }) => `${hostId}: ${kind} at ${address}`,
  ActivationRequested: ({ mode, proxies, childJobs, purpose }) =>
    `${mode}: ${proxies} proxies for ${count(childJobs.length, purpose === 'backup' ? 'child job' : 'data stream')}`,
  SnapshotRequested: ({ vmId }) => `of VM ${vmId}`,
  SnapshotTaken: ({ disks, pauseMilliseconds }) =>
    `${disks.map((disk) => `${disk.diskId} (${disk.fallbackReason === null ? disk.kind : `full, because ${disk.fallbackReason}`})`).join(', ')}; the guest stood still for ${pauseMilliseconds} ms`,
  SnapshotLost: ({ reason }) => reason,
  SnapshotReleased: ({ checkpoints }) => `checkpoints ${checkpoints}`,
  TargetRequested: ({ vmId, mounts }) =>
    `${mounts === undefined ? 'empty disks' : 'disks over mounts'} of VM ${vmId} to be`,
  TargetCreated: ({ disks }) =>
    disks.map(({ diskId, sizeBytes }) => `${diskId} (${formatBytes(sizeBytes)})`).join(', '),
  TargetLost: ({ reason }) => reason,
  TargetKept: ({ vmId, started, notStarted, acceleration }) =>
    `VM ${vmId} stands${started ? ` and runs${acceleration === undefined ? '' : ` ${accelerationWords(acceleration)}`}` : notStarted === null ? ', off' : `, and does not run: ${notStarted}`}`,
  TargetDiscarded: ({ vmId }) => `nothing is left of VM ${vmId} to be`,
  FillProgressed: ({ filledBytes, totalBytes }) =>
    `the VM runs; ${formatBytes(filledBytes)} of ${formatBytes(totalBytes)} of its disks are filled`,
  FillInterrupted: ({ reason }) => reason,
  TargetFilled: ({ vmId, filledBytes }) =>
    `VM ${vmId} is whole, ${formatBytes(filledBytes)}, and never stopped`,
  TargetLeft: ({ vmId }) => `VM ${vmId} has ended, and its disks are left as they are`,
  ProxiesChosen: ({ proxies, shortfall }) =>
    `${proxies.map((proxy) => `${proxy.proxyId} (${proxy.shared ? 'shared' : 'new'}: ${proxy.why})`).join(', ')}${shortfall === null ? '' : `; fewer than asked: ${shortfall}`}`,
  ProxyActivationRequested: ({ proxyId, ports, reason }) =>
    `${proxyId} with ${count(ports, 'port')}: ${reason}`,
  ProxyActivated: ({ proxyId, ports, characteristics }) =>
    `${proxyId} is up with ${count(ports.length, 'port')}${
      characteristics?.accelerator === 'tcg'
        ? `, emulated${characteristics.acceleratorBecause == null ? '' : `, because ${characteristics.acceleratorBecause}`}`
        : ''
    }`,
  ProxyHealthObserved: ({ proxyId }) => `${proxyId} was looked at after an interruption, and is up`,
  ProxyHealthChanged: ({ proxyId, was, health, detail }) => `${proxyId} is ${health}, was ${was}: ${detail}`,
  ProxyRetiring: ({ proxyId, reason }) => `${proxyId} will be ended: ${reason}`,
  ProxyThroughputObserved: ({ proxyId, childJobs, bytes, portSeconds }) =>
    `${formatBytes(bytes)} through ${proxyId} by ${count(childJobs, 'job')} in ${portSeconds.toFixed(1)} port-seconds: ${formatBytes(Math.round(bytes / Math.max(0.001, portSeconds)))}/s a port`,
  ProxyLost: ({ proxyId, reason }) => `${proxyId}: ${reason}`,
  ProxyDeactivated: ({ proxyId, reason, cost }) =>
    `${proxyId}: ${reason}${cost === undefined ? '' : `; it was there for ${seconds(cost.upSeconds)} and held disks of ${count(cost.runs, 'run')}, its ports were held for ${seconds(cost.busyPortSeconds)}`}`,
  ProxyDraining: ({ proxyId, reason }) => `${proxyId}: ${reason}`,
  ApplianceObserved: ({ appliance }) => `the host boots proxies from ${appliance} now`,
  ProxiesPrestarted: ({ scheduleId, dueAt, proxies, shortfall }) =>
    `for schedule ${scheduleId}, due at ${dueAt}: ${proxies.map(({ proxyId, started }) => `${proxyId} (${started ? 'started' : 'kept'})`).join(', ')}${shortfall === null ? '' : `; fewer than asked: ${shortfall}`}`,
  ProxyIdle: ({ proxyId }) => `${proxyId} has no work left`,
  DiskAttachRequested: ({ diskId, proxyId }) => `${diskId} to ${proxyId}`,
  DiskAttached: ({ diskId, proxyId }) => `${diskId} to ${proxyId}`,
  DiskDetached: ({ diskId, proxyId }) => `${diskId} from ${proxyId}`,
  DirectEndpointOpened: ({ ports }) => `the host's own export, ${count(ports.length, 'stream')}`,
  ProxiesActivated: ({ asked, proxies, mode }) =>
    mode === 'direct-to-host'
      ? 'no proxies: direct-to-host'
      : `${proxies.length} of ${asked}, ${proxies.filter((proxy) => proxy.shared).length} shared`,
  PortsLeased: ({ childJobId, ports, proxyId, wave, attempt }) =>
    `port ${ports.map((port) => port.port).join(', ')} of ${proxyId} to ${jobName(childJobId)}, wave ${wave}${attempt > 1 ? `, attempt ${attempt}` : ''}`,
  PortsReleased: ({ childJobId, ports, proxyId, because }) =>
    `port ${ports.join(', ')} of ${proxyId} by ${jobName(childJobId)}: ${because}`,
  RunPaused: ({ purpose }) =>
    `ports and proxies go to others, ${purpose === 'backup' ? 'the snapshot stays' : 'the disks of the VM to be stay'}`,
  RunResumed: () => 'proxies are chosen anew',
  RunFailed: refusalWords,
  RunEnding: ({ outcome }) => outcome,
  RunClosed: ({ outcome, portSeconds }) =>
    `${outcome}; everything was given back${portSeconds === undefined || portSeconds === 0 ? '' : `; it held ports of proxies for ${seconds(portSeconds)}`}`,
  DriftFound: ({ what, expected, found, repair }) =>
    `${what}: expected ${expected}, found ${found}; ${repair}`,
};

const transferWords: Words = {
  ChildJobStarted: ({ childJobId, proxyId, length, resumedBytes, kind, kindReason }) =>
    `${jobName(childJobId)} through ${proxyId}: ${formatBytes(length)}, ${kind}${kindReason === null ? '' : ` (${kindReason})`}${resumedBytes > 0 ? `, ${formatBytes(resumedBytes)} had arrived before` : ''}`,
  ChunkReceived: ({ childJobId, offset, length, digest, storedBytes }) =>
    `${jobName(childJobId)} at ${offset}: ${formatBytes(length)}${digest === null ? ', zero' : `, ${digest.slice(0, 12)}, ${storedBytes === 0 ? 'was there already' : `${formatBytes(storedBytes)} stored`}`}`,
  ChildJobCompleted: ({ childJobId, readBytes, chunks, milliseconds }) =>
    `${jobName(childJobId)}: ${formatBytes(readBytes)} read, ${count(chunks, 'chunk')}, ${formatBytes((readBytes / Math.max(1, milliseconds)) * 1000)}/s`,
  RepositoryAdopted: ({ repositoryId, location, made, replaces }) =>
    `${repositoryId} in ${location}${made ? ', made for it' : ''}${replaces === null ? '' : `, in place of ${replaces}`}`,
  ChildJobInterrupted: ({ childJobId, attempt, reason, retryable }) =>
    `${jobName(childJobId)} in attempt ${attempt}: ${reason}${retryable ? '' : ' (for good)'}`,
  BackupFailed: refusalWords,
  ExportJobStarted: ({ childJobId, proxyId, length, resumedBytes }) =>
    `${jobName(childJobId)} through ${proxyId}: ${formatBytes(length)}${resumedBytes > 0 ? `, ${formatBytes(resumedBytes)} had been written before` : ''}`,
  ChunkExported: ({ childJobId, offset, length, digest }) =>
    `${jobName(childJobId)} at ${offset}: ${formatBytes(length)}, ${digest.slice(0, 12)}`,
  ExportJobCompleted: ({ childJobId, writtenBytes, zeroBytes, verifiedBytes, chunks, milliseconds }) =>
    `${jobName(childJobId)}: ${formatBytes(writtenBytes)} written, ${count(chunks, 'chunk')}, ${formatBytes((writtenBytes / Math.max(1, milliseconds)) * 1000)}/s, ` +
    `${formatBytes(zeroBytes)} left as holes, ${formatBytes(verifiedBytes)} read back`,
  ExportJobInterrupted: ({ childJobId, attempt, reason, retryable }) =>
    `${jobName(childJobId)} in attempt ${attempt}: ${reason}${retryable ? '' : ' (for good)'}`,
  MountRequested: ({ backupId, disks }) => `${disks.join(', ')} of backup ${backupId}`,
  MountOpened: ({ mounts }) => Object.values(mounts).join(', '),
  MountReadFailed: ({ diskId, reason }) => `${diskId}: ${reason}`,
  DataExported: ({ totals }) => writtenWords(totals),
  RecoveryFailed: ({ refusal, alternative }) =>
    `${refusalLine(refusal as Refusal)}${alternative === null ? '' : ` The newest older restore point that is whole: backup ${alternative.backupId} of ${alternative.takenAt}`}`,
  RecoveryCompleted: ({ vmId, totals, started, notStarted }) =>
    `VM ${vmId}${started ? ' runs' : notStarted === null ? ' is off' : ` does not run: ${notStarted}`}; ${writtenWords(totals)}`,
  BackupCompleted: ({ totals }) =>
    `${formatBytes(totals.readBytes)} read of ${formatBytes(totals.diskBytes)}, ${count(totals.chunks, 'chunk')}, ${totals.newChunks} new, ${formatBytes(totals.storedBytes)} stored`,
};

/** `<runId>.<disk>.<index>` without the run, which the reader knows. */
const jobName = (childJobId: string): string => childJobId.replace(/^[0-9a-f-]{36}\./, '');
const seconds = (n: number): string => `${n.toFixed(1)} s`;
const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

const writtenWords = ({ writtenBytes, diskBytes, zeroBytes, verifiedBytes }: RecoveryTotals): string =>
  `${formatBytes(writtenBytes)} written of ${formatBytes(diskBytes)}, ${formatBytes(zeroBytes)} left as holes, ${formatBytes(verifiedBytes)} read back`;

const allWords: Words = { ...requestWords, ...hostWords, ...transferWords };

/** Events in words: one line each, for the story of a backup in a terminal. Pure. */
import { catalogue, type consoleApi, type Event, type EventType } from '@backhaul/contracts';
import { formatBytes, type Refusal, refusalLine } from '@backhaul/kernel';

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
  const data = chunks
    .map(knownEvent)
    .filter((event) => event?.type === 'ChunkReceived')
    .map((event) => event.data);
  const sum = (of: (chunk: (typeof data)[number]) => number): number =>
    data.reduce((total, chunk) => total + of(chunk), 0);
  const zero = sum((chunk) => (chunk.digest === null ? chunk.length : 0));
  const stored = sum((chunk) => chunk.storedBytes);
  const words =
    `${jobName(String(first.data.childJobId))}: ${count(chunks.length, 'chunk')}, ${formatBytes(sum((chunk) => chunk.length))}` +
    `${zero === 0 ? '' : `, ${formatBytes(zero)} of it zero`}` +
    `${stored === 0 ? ', nothing new' : `, ${formatBytes(stored)} stored`}`;
  return `${offsetOf(first.recordedAt, firstAt)}  ${'ChunkReceived'.padEnd(25)} ${words}`;
}

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
  BackupQueued: ({ vmId, behind }) => `VM ${vmId} is busy with backup ${behind}`,
  BackupRefused: refusalWords,
  BackupCancelled: ({ cancelledBy, reason }) => `by ${cancelledBy}: ${reason}`,
  VmAwaited: ({ vmId, behind }) => `VM ${vmId} is busy with backup ${behind}`,
  VmClaimed: ({ vmId }) => `it is this backup's turn at VM ${vmId}`,
  VmBackupEnded: ({ vmId, outcome }) => `VM ${vmId}: ${outcome}`,
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
  DeadLetterRedriven: ({ deadLetterId, consumer, subject, requestedBy, reason }) =>
    `${consumer} gets dead letter ${deadLetterId} again (${subject}), asked by ${requestedBy}: ${reason}`,
};

const hostWords: Words = {
  HostRegistered: ({ hostId, kind, address }) => `${hostId}: ${kind} at ${address}`,
  ActivationRequested: ({ mode, proxies, childJobs }) =>
    `${mode}: ${proxies} proxies for ${count(childJobs.length, 'child job')}`,
  SnapshotRequested: ({ vmId }) => `of VM ${vmId}`,
  SnapshotTaken: ({ disks, pauseMilliseconds }) =>
    `${disks.map((disk) => `${disk.diskId} (${disk.fallbackReason === null ? disk.kind : `full, because ${disk.fallbackReason}`})`).join(', ')}; the guest stood still for ${pauseMilliseconds} ms`,
  SnapshotLost: ({ reason }) => reason,
  SnapshotReleased: ({ checkpoints }) => `checkpoints ${checkpoints}`,
  ProxiesChosen: ({ proxies, shortfall }) =>
    `${proxies.map((proxy) => `${proxy.proxyId} (${proxy.shared ? 'shared' : 'new'}: ${proxy.why})`).join(', ')}${shortfall === null ? '' : `; fewer than asked: ${shortfall}`}`,
  ProxyActivationRequested: ({ proxyId, ports, reason }) =>
    `${proxyId} with ${count(ports, 'port')}: ${reason}`,
  ProxyActivated: ({ proxyId, ports }) => `${proxyId} is up with ${count(ports.length, 'port')}`,
  ProxyLost: ({ proxyId, reason }) => `${proxyId}: ${reason}`,
  ProxyDeactivated: ({ proxyId, reason }) => `${proxyId}: ${reason}`,
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
  RunFailed: refusalWords,
  RunEnding: ({ outcome }) => outcome,
  RunClosed: ({ outcome }) => `${outcome}; everything was given back`,
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
  ChildJobInterrupted: ({ childJobId, attempt, reason, retryable }) =>
    `${jobName(childJobId)} in attempt ${attempt}: ${reason}${retryable ? '' : ' (for good)'}`,
  BackupFailed: refusalWords,
  BackupCompleted: ({ totals }) =>
    `${formatBytes(totals.readBytes)} read of ${formatBytes(totals.diskBytes)}, ${count(totals.chunks, 'chunk')}, ${totals.newChunks} new, ${formatBytes(totals.storedBytes)} stored`,
};

/** `<backupId>.<disk>.<index>` without the backup, which the reader knows. */
const jobName = (childJobId: string): string => childJobId.replace(/^[0-9a-f-]{36}\./, '');
const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

const allWords: Words = { ...requestWords, ...hostWords, ...transferWords };

/**
 * Why a backup went as it went: mode, quantity, proxies, waves, fallbacks, retries. Told from its events alone, so the
 * same answer can be given years later. Pure.
 */
import type { consoleApi, EventType, Plan, Recorded } from '@backhaul/contracts';
import { formatBytes, type Refusal, refusalLine } from '@backhaul/kernel';
import { explainPlan } from '@backhaul/planning';
import { projected } from './projection.ts';
import { backups } from './projections/backups.ts';

type Explanation = consoleApi.Explanation;
type Reasoned = Explanation['losses'][number];

/** `story`: the events of one backup in order; chunks may be left out. Undefined when no backup is told of. */
export function explain(backupId: string, story: readonly Recorded[]): Explanation | undefined {
  const backup = projected(backups, story).find((row) => row.backupId === backupId);
  if (backup === undefined) return undefined;
  const plan = last(story, 'ProxiesCalculated')?.data;
  const facts = {
    backupId,
    state: backup.state,
    request: requestLine(backup),
    mode: plan === undefined ? null : { mode: plan.mode, reason: plan.modeReason },
    kind: plan === undefined ? null : { kind: plan.kind, disks: plan.disks.map(diskReason) },
    plan: plan === undefined ? [] : explainPlan(plan),
    proxies: proxiesOf(story),
    shortfall: backup.shortfall,
    waves: wavesOf(story),
    fallbacks: fallbacksOf(story, backup.requestedKind === 'full' ? undefined : plan),
    retries: of(story, 'ChildJobInterrupted').map(({ data }) => ({
      childJobId: data.childJobId,
      attempt: data.attempt,
      proxyId: data.proxyId,
      reason: data.reason,
    })),
    losses: lossesOf(story),
    outcome: outcomeLine(backup, story),
    refusal: backup.refusal,
  };
  return { ...facts, lines: linesOf(facts, pointInTimeLine(story)) };
}

const of = <T extends EventType>(story: readonly Recorded[], type: T): Recorded<T>[] =>
  story.filter((event) => event.type === type) as unknown as Recorded<T>[];
const last = <T extends EventType>(story: readonly Recorded[], type: T): Recorded<T> | undefined =>
  of(story, type).at(-1);

function requestLine(backup: Omit<consoleApi.BackupView, 'position'>): string {
  const { via, requestId, requestedBy, scheduleId } = backup.origin;
  const who = scheduleId ?? requestedBy;
  const waited =
    backup.behindBackupId === null ? '' : `; it waited for backup ${backup.behindBackupId} of the same VM`;
  return (
    `Asked for over ${via}${who === undefined ? '' : ` by ${who}`} as request ${requestId}: ` +
    `VM ${backup.vmId ?? '(unnamed)'} on host ${backup.hostId ?? '(unnamed)'}, ` +
    `kind ${backup.requestedKind ?? '(unread)'}, mode ${backup.requestedMode ?? '(unread)'}, ` +
    `policy ${backup.policyId ?? '(unread)'}${waited}.`
  );
}

const diskReason = (disk: Plan['disks'][number]): Reasoned => ({
  subject: `${disk.diskId}: ${disk.kind}`,
  reason: disk.kindReason,
});

/** Every proxy that was chosen, those chosen in place of a lost one included. */
function proxiesOf(story: readonly Recorded[]): Explanation['proxies'] {
  const proxies = new Map<string, Explanation['proxies'][number]>();
  for (const event of story) {
    switch (event.type) {
      case 'ProxiesChosen':
      case 'ProxiesActivated':
        for (const { proxyId, shared, why, ...rest } of event.data.proxies) {
          const known = proxies.get(proxyId);
          const ports = 'ports' in rest ? rest.ports : (known?.ports ?? 0);
          proxies.set(proxyId, { leases: 0, outcome: null, ...known, proxyId, shared, reason: why, ports });
        }
        break;
      case 'PortsLeased':
      case 'ProxyLost':
      case 'ProxyDeactivated': {
        const proxy = proxies.get(event.data.proxyId);
        if (proxy === undefined) break;
        if (event.type === 'PortsLeased') proxy.leases += 1;
        else if (event.type === 'ProxyLost') proxy.outcome = `lost: ${event.data.reason}`;
        else proxy.outcome ??= `stopped: ${event.data.reason}`;
        break;
      }
      default:
    }
  }
  return [...proxies.values()];
}

function wavesOf(story: readonly Recorded[]): Explanation['waves'] {
  const waves = new Map<number, { childJobs: Set<string>; proxies: Set<string> }>();
  for (const { data } of of(story, 'PortsLeased')) {
    const wave = waves.get(data.wave) ?? { childJobs: new Set(), proxies: new Set() };
    waves.set(data.wave, wave);
    wave.childJobs.add(data.childJobId);
    wave.proxies.add(data.proxyId);
  }
  return [...waves]
    .sort(([a], [b]) => a - b)
    .map(([wave, { childJobs, proxies }]) => ({ wave, childJobs: childJobs.size, proxies: proxies.size }));
}

/**
 * Where a disk was read in full although a restore point stood: when planned, at the snapshot, or by the child job. Whoever
 * asked for a full (no `plan` here) got what was asked for.
 */
function fallbacksOf(story: readonly Recorded[], plan: Plan | undefined): Reasoned[] {
  const fallbacks: Reasoned[] = [];
  for (const disk of plan?.parent ? plan.disks : []) {
    if (disk.kind === 'full') {
      fallbacks.push({ subject: `Disk ${disk.diskId}, full when planned`, reason: disk.kindReason });
    }
  }
  for (const disk of last(story, 'SnapshotTaken')?.data.disks ?? []) {
    if (disk.fallbackReason !== null) {
      fallbacks.push({ subject: `Disk ${disk.diskId}, full at the snapshot`, reason: disk.fallbackReason });
    }
  }
  for (const { data } of of(story, 'ChildJobStarted')) {
    if (data.kindReason !== null) {
      fallbacks.push({ subject: `Child job ${data.childJobId}, full when read`, reason: data.kindReason });
    }
  }
  return fallbacks;
}

function lossesOf(story: readonly Recorded[]): Reasoned[] {
  const losses: Reasoned[] = [];
  for (const event of story) {
    if (event.type === 'ProxyLost') {
      losses.push({ subject: `Proxy ${event.data.proxyId}`, reason: event.data.reason });
    } else if (event.type === 'SnapshotLost') {
      losses.push({ subject: 'Snapshot', reason: event.data.reason });
    }
  }
  return losses;
}

/** Where guests run (those of a host at rest have no consistency to tell of): what the frozen disks are, and what it cost. */
function pointInTimeLine(story: readonly Recorded[]): string | undefined {
  const { takenAt, pauseMilliseconds, consistency } = last(story, 'SnapshotTaken')?.data ?? {};
  if (consistency === undefined) return undefined;
  const level = consistency.level === 'filesystem' ? 'file-system consistent' : 'crash-consistent';
  return (
    `Point in time ${takenAt}, ${level}, because: ${consistency.reason}; ` +
    `the guest stood still for ${pauseMilliseconds} ms.`
  );
}

function outcomeLine(backup: Omit<consoleApi.BackupView, 'position'>, story: readonly Recorded[]): string {
  const totals = last(story, 'BackupCompleted')?.data.totals;
  if (totals !== undefined) {
    return (
      `Completed: ${formatBytes(totals.readBytes)} read of ${formatBytes(totals.diskBytes)}, ` +
      `${totals.chunks} chunks, ${totals.newChunks} of them new; the repository grew by ${formatBytes(totals.storedBytes)}.`
    );
  }
  const reason = backup.refusal === null ? '' : `: ${refusalLine(backup.refusal as Refusal)}`;
  const state = `${(backup.state[0] ?? '').toUpperCase()}${backup.state.slice(1)}`;
  return `${state}${reason === '' ? '.' : reason}`;
}

function linesOf(facts: Omit<Explanation, 'lines'>, pointInTime: string | undefined): string[] {
  return [
    facts.request,
    ...facts.plan,
    ...(pointInTime === undefined ? [] : [pointInTime]),
    ...facts.proxies.map(
      ({ proxyId, shared, reason, leases, outcome }) =>
        `Proxy ${proxyId} (${shared ? 'shared' : 'started for this backup'}), because: ${reason}; ` +
        `${count(leases, 'lease')}${outcome === null ? '' : `; ${outcome}`}.`,
    ),
    ...(facts.shortfall === null ? [] : [`Fewer proxies than asked for: ${facts.shortfall}.`]),
    ...facts.waves.map(
      ({ wave, childJobs, proxies }) =>
        `Wave ${wave}: ${count(childJobs, 'child job')} through ${proxies === 1 ? '1 proxy' : `${proxies} proxies`}.`,
    ),
    ...facts.fallbacks.map(({ subject, reason }) => `${subject}, because: ${reason}.`),
    ...facts.losses.map(({ subject, reason }) => `Lost: ${subject}: ${reason}.`),
    ...facts.retries.map(
      ({ childJobId, attempt, proxyId, reason }) =>
        `Child job ${childJobId} was interrupted in attempt ${attempt} at ${proxyId}: ${reason}.`,
    ),
    facts.outcome,
  ];
}

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

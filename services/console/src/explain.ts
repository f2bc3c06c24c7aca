/**
 * Why a backup went as it went: mode, quantity, proxies, waves, fallbacks, retries. Told from its events alone, so the
 * same answer can be given years later. Pure.
 */
import type { consoleApi, Plan, Recorded } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';
import { explainPlan } from '@backhaul/planning';
import { choiceLines, choicesOf } from './explain-choice.ts';
import {
  emulationLines,
  healthOf,
  last,
  lossesOf,
  of,
  orderLines,
  originWords,
  proxiesOf,
  proxyLines,
  type Reasoned,
  retriesOf,
  shadowLines,
  stateLine,
  troubleLines,
  wavesOf,
} from './explain-run.ts';
import { projected } from './projection.ts';
import { backups } from './projections/backups.ts';

type Explanation = consoleApi.Explanation;

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
    choices: choicesOf(story),
    waves: wavesOf(story),
    fallbacks: fallbacksOf(story, backup.requestedKind === 'full' ? undefined : plan),
    retries: retriesOf(of(story, 'ChildJobInterrupted')),
    losses: lossesOf(story),
    outcome: outcomeLine(backup, story),
    refusal: backup.refusal,
  };
  const told = {
    shadows: shadowLines(story),
    emulated: emulationLines(story),
    pointInTime: pointInTimeLine(story),
    health: healthOf(story, facts.proxies),
    orders: orderLines(story),
  };
  return { ...facts, lines: linesOf(facts, told) };
}

function requestLine(backup: Omit<consoleApi.BackupView, 'position'>): string {
  const waited =
    backup.behindRunId === null ? '' : `; it waited for run ${backup.behindRunId} of the same VM`;
  return (
    `${originWords(backup.origin)}: ` +
    `VM ${backup.vmId ?? '(unnamed)'} on host ${backup.hostId ?? '(unnamed)'}, ` +
    `kind ${backup.requestedKind ?? '(unread)'}, mode ${backup.requestedMode ?? '(unread)'}, ` +
    `policy ${backup.policyId ?? '(unread)'}${waited}.`
  );
}

const diskReason = (disk: Plan['disks'][number]): Reasoned => ({
  subject: `${disk.diskId}: ${disk.kind}`,
  reason: disk.kindReason,
});

/**
 * Where a disk was read in full, or more of it than had changed, although a restore point stood: when planned, at the snapshot, or by the child job. Whoever
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
      const how = data.kind === 'full' ? 'full when read' : 'more read than changed';
      fallbacks.push({ subject: `Child job ${data.childJobId}, ${how}`, reason: data.kindReason });
    }
  }
  return fallbacks;
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
  if (totals === undefined) return stateLine(backup.state, backup.refusal);
  return (
    `Completed: ${formatBytes(totals.readBytes)} read of ${formatBytes(totals.diskBytes)}, ` +
    `${totals.chunks} chunks, ${totals.newChunks} of them new; the repository grew by ${formatBytes(totals.storedBytes)}.`
  );
}

function linesOf(
  facts: Omit<Explanation, 'lines'>,
  {
    shadows,
    emulated,
    pointInTime,
    health,
    orders,
  }: {
    readonly shadows: readonly string[];
    readonly emulated: readonly string[];
    readonly pointInTime: string | undefined;
    readonly health: readonly string[];
    readonly orders: readonly string[];
  },
): string[] {
  return [
    facts.request,
    ...facts.plan,
    ...shadows,
    ...(pointInTime === undefined ? [] : [pointInTime]),
    ...choiceLines(facts.choices),
    ...proxyLines(facts, { run: 'backup', job: 'child job' }),
    ...emulated,
    ...facts.fallbacks.map(({ subject, reason }) => `${subject}, because: ${reason}.`),
    ...health,
    ...troubleLines(facts, 'Child job'),
    ...orders,
    facts.outcome,
  ];
}

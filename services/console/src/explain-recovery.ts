/** Why a recovery went as it went: mode, second quantity, proxies, retries, and what stands at its end. From its events alone. Pure. */
import { accelerationWords, type consoleApi, type Recorded } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';
import { explainRecoveryPlan } from '@backhaul/planning';
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
  retriesOf,
  shadowLines,
  stateLine,
  troubleLines,
  wavesOf,
} from './explain-run.ts';
import { projected } from './projection.ts';
import { recoveries } from './projections/recoveries.ts';

type Explanation = consoleApi.RecoveryExplanation;
type Recovery = Omit<consoleApi.RecoveryView, 'position'>;

/** `story`: the events of one recovery in order; chunks may be left out. Undefined when no recovery is told of. */
export function explainRecovery(recoveryId: string, story: readonly Recorded[]): Explanation | undefined {
  const recovery = projected(recoveries, story).find((row) => row.recoveryId === recoveryId);
  if (recovery === undefined) return undefined;
  const plan = last(story, 'RecoveryProxiesCalculated')?.data;
  const facts = {
    recoveryId,
    state: recovery.state,
    request: requestLine(recovery),
    mode: plan === undefined ? null : { mode: plan.mode, reason: plan.modeReason },
    plan: plan === undefined ? [] : explainRecoveryPlan(plan),
    proxies: proxiesOf(story),
    shortfall: recovery.shortfall,
    choices: choicesOf(story),
    waves: wavesOf(story),
    retries: retriesOf(of(story, 'ExportJobInterrupted')),
    losses: lossesOf(story),
    outcome: outcomeLine(recovery, story),
    refusal: recovery.refusal,
    alternative: recovery.alternative,
  };
  return {
    ...facts,
    lines: [
      facts.request,
      ...facts.plan,
      ...shadowLines(story),
      ...choiceLines(facts.choices),
      ...proxyLines(facts, { run: 'recovery', job: 'data stream' }),
      ...emulationLines(story),
      ...instantLines(recovery, story),
      ...healthOf(story, facts.proxies),
      ...troubleLines(facts, 'Data stream'),
      ...orderLines(story),
      facts.outcome,
      ...(facts.alternative === null
        ? []
        : [
            `The newest older restore point that is whole: backup ${facts.alternative.backupId}, taken at ${facts.alternative.takenAt}.`,
          ]),
    ],
  };
}

function requestLine(recovery: Recovery): string {
  const { backupId, takenAt, sourceVmId, sourceHostId, behindRunId } = recovery;
  const point = takenAt === null ? '' : ` (VM ${sourceVmId} on host ${sourceHostId}, as of ${takenAt})`;
  const wishes = [
    ...(recovery.replace ? ['over the VM of that name'] : []),
    ...(recovery.start ? ['to be started'] : []),
    ...(recovery.verify ? ['to be read back whole'] : []),
    ...(recovery.instant ? ['at once, before its disks are filled'] : []),
  ];
  return (
    `${originWords(recovery.origin)}: backup ${backupId ?? '(unnamed)'}${point} ` +
    `as VM ${recovery.vmId ?? '(unnamed)'} on host ${recovery.hostId ?? '(unnamed)'}, ` +
    `${wishes.length === 0 ? '' : `${wishes.join(', ')}, `}` +
    `mode ${recovery.requestedMode ?? '(unread)'}, policy ${recovery.policyId ?? '(unread)'}` +
    `${behindRunId === null ? '' : `; it waited for run ${behindRunId} of the same VM`}.`
  );
}

/** How long whoever asked had to wait for the VM. */
function instantLines(
  { runningAt, requestedAt, filledBytes, diskBytes, vmId }: Recovery,
  story: readonly Recorded[],
): string[] {
  if (runningAt === null) return [];
  const seconds = (Date.parse(runningAt) - Date.parse(requestedAt ?? runningAt)) / 1000;
  return [
    `VM ${vmId} ran${howItRuns(story)} ${seconds.toFixed(1)} s after the request; ${formatBytes(filledBytes)} of ${formatBytes(diskBytes)} are filled.`,
  ];
}

/** A VM that is emulated must not look as if that were its speed. */
function howItRuns(story: readonly Recorded[]): string {
  const acceleration = last(story, 'TargetKept')?.data.acceleration;
  return acceleration === undefined ? '' : ` ${accelerationWords(acceleration)}`;
}

function outcomeLine(recovery: Recovery, story: readonly Recorded[]): string {
  const completed = last(story, 'RecoveryCompleted')?.data;
  if (completed === undefined) return stateLine(recovery.state, recovery.refusal);
  const { totals, vmId, started, notStarted } = completed;
  const runs = started
    ? `it runs${howItRuns(story)}`
    : notStarted === null
      ? 'it is off'
      : `it should run and does not: ${notStarted}`;
  return (
    `Completed: ${formatBytes(totals.writtenBytes)} written of ${formatBytes(totals.diskBytes)} in ${totals.chunks} chunks, ` +
    `${formatBytes(totals.zeroBytes)} left as holes, ${formatBytes(totals.verifiedBytes)} read back and compared; VM ${vmId} stands, ${runs}.`
  );
}

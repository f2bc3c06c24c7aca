/**
 * What other services' news asks of the pool, and what the pool answers. A command that already took effect yields no
 * events, so redelivery is harmless; one that comes too late (its run is closed) yields none either.
 */
import {
  type Event,
  type HostPolicy,
  isCancellation,
  type Mounts,
  type Plan,
  type Purpose,
  type RecoveryPlan,
} from '@backhaul/contracts';
import { ok, type Refusal, type Result, unreachable } from '@backhaul/kernel';
import { dated } from './dated.ts';
import { cancelRun, type PauseOrResume, pauseOrResume } from './pause.ts';
import {
  type BackupOrder,
  failureOf,
  type HostEvent,
  type Pool,
  type RecoveryOrder,
  releaseOf,
} from './pool.ts';
import { type Approaching, prestart } from './prestart.ts';

export type HostCommand =
  | { readonly type: 'RegisterHost'; readonly kind: string; readonly address: string }
  | { readonly type: 'AdoptPolicy'; readonly policy: HostPolicy; readonly revision: number }
  | ({ readonly type: 'PrestartProxies' } & Approaching)
  | { readonly type: 'RequestActivation'; readonly plan: Plan; readonly at: string }
  | { readonly type: 'RequestRecovery'; readonly plan: RecoveryPlan; readonly at: string }
  | {
      readonly type: 'ReleasePorts';
      readonly runId: string;
      readonly childJobId: string;
      readonly leaseId: string;
      readonly completed: boolean;
      /** By the attempt that completed it. */
      readonly moved?: { readonly bytes: number; readonly milliseconds: number };
      readonly reason: string;
      readonly retryable: boolean;
    }
  /** The restore point is served. */
  | { readonly type: 'TakeMounts'; readonly runId: string; readonly mounts: Mounts }
  /** What is to be recovered cannot be read. */
  | { readonly type: 'FailRun'; readonly runId: string; readonly refusal: Refusal }
  | PauseOrResume
  /** Its end was said before all of it was done, perhaps before its plan arrived. */
  | { readonly type: 'CancelRun'; readonly runId: string; readonly purpose: Purpose }
  | {
      readonly type: 'EndRun';
      readonly runId: string;
      readonly outcome: 'completed' | 'failed' | 'cancelled';
    };

export function decide(pool: Pool, command: HostCommand): Result<HostEvent[]> {
  switch (command.type) {
    case 'RegisterHost':
      return ok(registerHost(pool, command.kind, command.address));
    case 'AdoptPolicy':
      return ok(adoptPolicy(pool, command.policy, command.revision));
    case 'PrestartProxies':
      return ok(prestart(pool, command));
    case 'RequestActivation':
      return ok(
        isKnown(pool, command.plan.backupId)
          ? []
          : [{ type: 'ActivationRequested', data: backupOrder(command.plan, command.at) }],
      );
    case 'RequestRecovery':
      return ok(
        isKnown(pool, command.plan.recoveryId)
          ? []
          : [{ type: 'ActivationRequested', data: recoveryOrder(command.plan, command.at) }],
      );
    case 'ReleasePorts':
      return ok(releasePorts(pool, command));
    case 'TakeMounts': {
      const run = pool.runs.get(command.runId);
      if (run === undefined || run.outcome !== undefined || run.hold !== 'none') return ok([]);
      const { hostId, runId, vmId } = run.order;
      return ok([{ type: 'TargetRequested', data: { hostId, runId, vmId, mounts: command.mounts } }]);
    }
    case 'FailRun': {
      const run = pool.runs.get(command.runId);
      return ok(
        run === undefined || run.outcome !== undefined ? [] : [failureOf(run.order, command.refusal)],
      );
    }
    case 'PauseRun':
    case 'ResumeRun':
      return ok(pauseOrResume(pool, command));
    case 'CancelRun':
      return ok(cancelRun(pool, command.runId, command.purpose));
    case 'EndRun': {
      const run = pool.runs.get(command.runId);
      if (run === undefined || run.outcome !== undefined) return ok([]);
      const { hostId, runId, purpose } = run.order;
      return ok([{ type: 'RunEnding', data: { hostId, runId, purpose, outcome: command.outcome } }]);
    }
    default:
      return unreachable(command);
  }
}

/** It runs, or its end was said before it came. */
const isKnown = (pool: Pool, runId: string): boolean =>
  pool.runs.has(runId) || pool.early.get(runId)?.ended === true;

/** None of the commands is refused: what comes too late asks for nothing. `at`: when the news came. */
export function carryOut(pool: Pool, command: HostCommand, at: string): HostEvent[] {
  const decided = decide(pool, command);
  return decided.ok ? dated(decided.value, at) : [];
}

export const poolNews = [
  'HostPolicyDefined',
  'ScheduleApproaching',
  'ProxiesCalculated',
  'ChildJobCompleted',
  'ChildJobInterrupted',
  'BackupCompleted',
  'BackupFailed',
  'RecoveryProxiesCalculated',
  'ExportJobCompleted',
  'ExportJobInterrupted',
  'DataExported',
  'MountOpened',
  'MountReadFailed',
  'RecoveryFailed',
  'BackupPaused',
  'BackupResumed',
  'RecoveryPaused',
  'RecoveryResumed',
] as const;
export type PoolNews = (typeof poolNews)[number];

/**
 * What a piece of news is about: a run, or the host itself. Proxies are started beforehand for a run, but from what all runs share: one
 * such decision must see the other.
 */
export const subjectOf = (data: Event<PoolNews>['data']): string => {
  if ('scheduleId' in data) return data.hostId;
  if ('recoveryId' in data) return data.recoveryId;
  return 'backupId' in data ? data.backupId : data.hostId;
};

/** The news each event of another service brings to the pool of its host. */
export function react(event: Event<PoolNews>, at: string): { hostId: string; command: HostCommand } {
  const { hostId } = event.data;
  return { hostId, command: commandOf(event, at) };
}

function commandOf(event: Event<PoolNews>, at: string): HostCommand {
  const runId = subjectOf(event.data);
  switch (event.type) {
    case 'HostPolicyDefined':
      return { type: 'AdoptPolicy', policy: event.data.policy, revision: event.data.revision };
    case 'ScheduleApproaching': {
      const { backupId, scheduleId, vmId, dueAt } = event.data;
      return { type: 'PrestartProxies', runId: backupId, scheduleId, vmId, dueAt, at };
    }
    case 'ProxiesCalculated':
      return { type: 'RequestActivation', plan: event.data, at };
    case 'RecoveryProxiesCalculated':
      return { type: 'RequestRecovery', plan: event.data, at };
    case 'ChildJobCompleted':
    case 'ExportJobCompleted': {
      const { childJobId, leaseId, milliseconds } = event.data;
      const bytes = 'readBytes' in event.data ? event.data.readBytes : event.data.writtenBytes;
      const moved = { bytes, milliseconds };
      const end = { completed: true, reason: '', retryable: true };
      return { type: 'ReleasePorts', runId, childJobId, leaseId, moved, ...end };
    }
    case 'ChildJobInterrupted':
    case 'ExportJobInterrupted': {
      const { childJobId, leaseId, reason, retryable } = event.data;
      return { type: 'ReleasePorts', runId, childJobId, leaseId, completed: false, reason, retryable };
    }
    case 'MountOpened':
      return { type: 'TakeMounts', runId, mounts: event.data.mounts };
    case 'MountReadFailed': {
      const { vmId, diskId, reason } = event.data;
      const message = `Disk ${diskId} of the restore point that vm ${vmId} is recovered from cannot be read: ${reason}`;
      const wayOut = 'Recover another restore point.';
      return { type: 'FailRun', runId, refusal: { code: 'RestorePointDamaged', message, wayOut } };
    }
    case 'BackupCompleted':
    // The data is on the disks: what is left is to make a VM of them, which is the host's own work (run-steps.ts).
    case 'DataExported':
      return { type: 'EndRun', runId, outcome: 'completed' };
    case 'BackupFailed':
    case 'RecoveryFailed':
      return isCancellation(event.data.refusal)
        ? { type: 'CancelRun', runId, purpose: event.type === 'BackupFailed' ? 'backup' : 'recovery' }
        : { type: 'EndRun', runId, outcome: 'failed' };
    case 'BackupPaused':
      return { type: 'PauseRun', runId, purpose: 'backup', number: event.data.number };
    case 'BackupResumed':
      return { type: 'ResumeRun', runId, purpose: 'backup', number: event.data.number };
    case 'RecoveryPaused':
      return { type: 'PauseRun', runId, purpose: 'recovery', number: event.data.number };
    case 'RecoveryResumed':
      return { type: 'ResumeRun', runId, purpose: 'recovery', number: event.data.number };
    default:
      return unreachable(event);
  }
}

function registerHost(pool: Pool, kind: string, address: string): HostEvent[] {
  if (pool.registered?.kind === kind && pool.registered.address === address) return [];
  return [{ type: 'HostRegistered', data: { hostId: pool.hostId, kind, address } }];
}

/** News may come late and in any order: only a later definition counts. */
function adoptPolicy(pool: Pool, policy: HostPolicy, revision: number): HostEvent[] {
  if (revision <= pool.policyRevision) return [];
  return [{ type: 'HostPolicyAdopted', data: { hostId: pool.hostId, policy, revision } }];
}

/** What the host needs to know of the plan, and no more. */
const backupOrder = (plan: Plan, requestedAt: string): BackupOrder => ({
  purpose: 'backup',
  runId: plan.backupId,
  ...commonOrder(plan, requestedAt),
  disks: plan.disks.map(({ diskId, kind }) => {
    const before = plan.parent?.disks.find((disk) => disk.diskId === diskId);
    return {
      diskId,
      kind,
      parentCheckpoint: before?.checkpoint ?? null,
      parentIdentity: before?.identity ?? null,
    };
  }),
  portsPerChildJob: plan.policy.portsPerChildJob,
});

const recoveryOrder = (plan: RecoveryPlan, requestedAt: string): RecoveryOrder => ({
  purpose: 'recovery',
  runId: plan.recoveryId,
  ...commonOrder(plan, requestedAt),
  disks: plan.disks.map(({ diskId, sizeBytes, bytesToWrite }) => ({ diskId, sizeBytes, bytesToWrite })),
  portsPerChildJob: plan.policy.portsPerStream,
  replace: plan.replace,
  start: plan.start,
  machine: plan.machine,
  ...(plan.instant === undefined ? {} : { instant: plan.instant }),
});

const commonOrder = (plan: Plan | RecoveryPlan, requestedAt: string) => ({
  hostId: plan.hostId,
  vmId: plan.vmId,
  mode: plan.mode,
  proxies: plan.proxies,
  childJobs: plan.childJobs.map(({ childJobId, diskId, offset, length }) => ({
    childJobId,
    diskId,
    offset,
    length,
  })),
  portsPerProxy: plan.policy.maxPortsPerProxy,
  maxChildJobsPerProxy: plan.policy.maxChildJobsPerProxy,
  maxDisksPerProxy: plan.policy.maxDisksPerProxy,
  maxProxiesPerHost: plan.policy.maxProxiesPerHost,
  maxDirectStreams: plan.policy.maxDirectStreams,
  maxAttemptsPerChildJob: plan.policy.maxAttemptsPerChildJob,
  proxyIdleSeconds: plan.policy.proxyIdleSeconds,
  proxyActivationSeconds: plan.policy.proxyActivationSeconds,
  requestedAt,
  priority: plan.priority,
  // A plan of an earlier release does not say.
  askedAt: plan.askedAt ?? requestedAt,
});

/** A lease that is no longer the job's was given up earlier (its proxy was lost): nothing is left to release. */
function releasePorts(pool: Pool, command: Extract<HostCommand, { type: 'ReleasePorts' }>): HostEvent[] {
  const run = pool.runs.get(command.runId);
  const job = run?.jobs.get(command.childJobId);
  if (run === undefined || job === undefined) return [];
  if (job.lease?.leaseId !== command.leaseId) return [];
  const released = releaseOf(job.lease, command.completed ? 'completed' : 'interrupted', command.moved);
  if (command.completed || run.outcome !== undefined) return [released];

  const lastAttempt = job.interruptions + 1 >= run.order.maxAttemptsPerChildJob;
  if (command.retryable && !lastAttempt) return [released];
  const { vmId, purpose } = run.order;
  const refusal = {
    code: command.retryable ? 'AttemptsExhausted' : 'ChildJobFailed',
    message: `Child job ${job.childJobId} of vm ${vmId} was interrupted ${job.interruptions + 1} times, at last because: ${command.reason}`,
    wayOut: `Mend the cause named, then start the ${purpose} again.`,
  };
  return [released, failureOf(run.order, refusal)];
}

/**
 * What other services' news asks of the pool, and what the pool answers. A command that already took effect yields no
 * events, so redelivery is harmless; one that comes too late (its run is closed) yields none either.
 */
import type { Event, EventData, Plan } from '@backhaul/contracts';
import { ok, type Result, unreachable } from '@backhaul/kernel';
import { type HostEvent, type Pool, releaseOf } from './pool.ts';

export type HostCommand =
  | { readonly type: 'RegisterHost'; readonly kind: string; readonly address: string }
  | { readonly type: 'RequestActivation'; readonly plan: Plan; readonly at: string }
  | {
      readonly type: 'ReleasePorts';
      readonly backupId: string;
      readonly childJobId: string;
      readonly leaseId: string;
      readonly completed: boolean;
      readonly reason: string;
      readonly retryable: boolean;
    }
  | {
      readonly type: 'EndRun';
      readonly backupId: string;
      readonly outcome: 'completed' | 'failed' | 'cancelled';
    };

export function decide(pool: Pool, command: HostCommand): Result<HostEvent[]> {
  switch (command.type) {
    case 'RegisterHost':
      return ok(registerHost(pool, command.kind, command.address));
    case 'RequestActivation':
      return ok(pool.runs.has(command.plan.backupId) ? [] : [requestActivation(command.plan, command.at)]);
    case 'ReleasePorts':
      return ok(releasePorts(pool, command));
    case 'EndRun': {
      const run = pool.runs.get(command.backupId);
      if (run === undefined || run.outcome !== undefined) return ok([]);
      const { hostId, backupId } = run.order;
      return ok([{ type: 'RunEnding', data: { hostId, backupId, outcome: command.outcome } }]);
    }
    default:
      return unreachable(command);
  }
}

/** None of the commands is refused: what comes too late asks for nothing. */
export function carryOut(pool: Pool, command: HostCommand): HostEvent[] {
  const decided = decide(pool, command);
  return decided.ok ? decided.value : [];
}

export const poolNews = [
  'ProxiesCalculated',
  'ChildJobCompleted',
  'ChildJobInterrupted',
  'BackupCompleted',
  'BackupFailed',
] as const;
export type PoolNews = (typeof poolNews)[number];

/** The news each event of another service brings to the pool of its host. */
export function react(event: Event<PoolNews>, at: string): { hostId: string; command: HostCommand } {
  switch (event.type) {
    case 'ProxiesCalculated':
      return { hostId: event.data.hostId, command: { type: 'RequestActivation', plan: event.data, at } };
    case 'ChildJobCompleted':
      return {
        hostId: event.data.hostId,
        command: releaseCommand(event.data, { completed: true, reason: '', retryable: true }),
      };
    case 'ChildJobInterrupted': {
      const { reason, retryable } = event.data;
      return {
        hostId: event.data.hostId,
        command: releaseCommand(event.data, { completed: false, reason, retryable }),
      };
    }
    case 'BackupCompleted':
      return endRun(event.data, 'completed');
    case 'BackupFailed':
      return endRun(event.data, 'failed');
    default:
      return unreachable(event);
  }
}

const releaseCommand = (
  job: { backupId: string; childJobId: string; leaseId: string },
  end: { completed: boolean; reason: string; retryable: boolean },
): HostCommand => ({
  type: 'ReleasePorts',
  backupId: job.backupId,
  childJobId: job.childJobId,
  leaseId: job.leaseId,
  ...end,
});

const endRun = (
  run: { hostId: string; backupId: string },
  outcome: 'completed' | 'failed',
): { hostId: string; command: HostCommand } => ({
  hostId: run.hostId,
  command: { type: 'EndRun', backupId: run.backupId, outcome },
});

function registerHost(pool: Pool, kind: string, address: string): HostEvent[] {
  if (pool.registered?.kind === kind && pool.registered.address === address) return [];
  return [{ type: 'HostRegistered', data: { hostId: pool.hostId, kind, address } }];
}

/** What the host needs to know of the plan, and no more. */
function requestActivation(plan: Plan, requestedAt: string): HostEvent {
  const { policy } = plan;
  const data: EventData<'ActivationRequested'> = {
    hostId: plan.hostId,
    backupId: plan.backupId,
    vmId: plan.vmId,
    mode: plan.mode,
    proxies: plan.proxies,
    disks: plan.disks.map(({ diskId, kind }) => {
      const before = plan.parent?.disks.find((disk) => disk.diskId === diskId);
      return {
        diskId,
        kind,
        parentCheckpoint: before?.checkpoint ?? null,
        parentIdentity: before?.identity ?? null,
      };
    }),
    childJobs: plan.childJobs.map(({ childJobId, diskId, offset, length }) => ({
      childJobId,
      diskId,
      offset,
      length,
    })),
    portsPerChildJob: policy.portsPerChildJob,
    portsPerProxy: policy.maxPortsPerProxy,
    maxChildJobsPerProxy: policy.maxChildJobsPerProxy,
    maxDisksPerProxy: policy.maxDisksPerProxy,
    maxProxiesPerHost: policy.maxProxiesPerHost,
    maxDirectStreams: policy.maxDirectStreams,
    maxAttemptsPerChildJob: policy.maxAttemptsPerChildJob,
    proxyIdleSeconds: policy.proxyIdleSeconds,
    proxyActivationSeconds: policy.proxyActivationSeconds,
    requestedAt,
  };
  return { type: 'ActivationRequested', data };
}

/** A lease that is no longer the job's was given up earlier (its proxy was lost): nothing is left to release. */
function releasePorts(pool: Pool, command: Extract<HostCommand, { type: 'ReleasePorts' }>): HostEvent[] {
  const run = pool.runs.get(command.backupId);
  const job = run?.jobs.get(command.childJobId);
  if (run === undefined || job === undefined) return [];
  if (job.lease?.leaseId !== command.leaseId) return [];
  const released = releaseOf(job.lease, command.completed ? 'completed' : 'interrupted');
  if (command.completed || run.outcome !== undefined) return [released];

  const lastAttempt = job.interruptions + 1 >= run.order.maxAttemptsPerChildJob;
  if (command.retryable && !lastAttempt) return [released];
  const { hostId, backupId, vmId } = run.order;
  const refusal = {
    code: command.retryable ? 'AttemptsExhausted' : 'ChildJobFailed',
    message: `Child job ${job.childJobId} of vm ${vmId} was interrupted ${job.interruptions + 1} times, at last because: ${command.reason}`,
    wayOut: 'Mend the cause named, then start the backup again.',
  };
  return [released, { type: 'RunFailed', data: { hostId, backupId, vmId, refusal } }];
}

/**
 * The rows of the console's lists. Each is a row of the projection of the same name, derived from events alone;
 * `position` is the last event that changed it.
 */
import { z } from 'zod';
import { Origin } from './backup-events.ts';
import { ProxyCost } from './host-events.ts';
import { DeploymentPolicy, HostPolicy } from './host-policy.ts';
import { Policy } from './policy.ts';
import { Priority } from './priority.ts';
import { HealthState } from './proxy-events.ts';
import { PlanSummary } from './shadow-plan-events.ts';
import { BackupKind, Purpose, Refusal, RestorePoint, TransportMode } from './vocabulary.ts';

const count = z.int().nonnegative();
const position = z.int().nonnegative();
const instant = z.iso.datetime();

export const BackupOutcome = z.enum(['completed', 'failed', 'refused', 'cancelled']);
export type BackupOutcome = z.infer<typeof BackupOutcome>;

/** A backup of a VM, or a recovery to it: they take turns. */
const Turn = z.object({ purpose: Purpose, runId: z.string() });
const QueuedTurn = Turn.extend({ priority: Priority, askedAt: instant });

export const VmView = z.object({
  hostId: z.string(),
  vmId: z.string(),
  /** Whose turn it is. */
  running: Turn.nullable(),
  /** In the order in which they will have their turn. */
  queued: z.array(QueuedTurn),
  lastBackupId: z.string().nullable(),
  lastOutcome: BackupOutcome.nullable(),
  lastEndedAt: instant.nullable(),
  lastRestorePoint: RestorePoint.nullable(),
  lastRestorePointAt: instant.nullable(),
  position,
});
export type VmView = z.infer<typeof VmView>;

export const BackupState = z.enum([
  'queued',
  'triggered',
  'planned',
  'activating',
  'transferring',
  /** Nothing of it begins or goes on until somebody resumes it. */
  'paused',
  /** It was ordered to end, and has not yet. */
  'cancelling',
  ...BackupOutcome.options,
]);
export type BackupState = z.infer<typeof BackupState>;

export const BackupView = z.object({
  backupId: z.string(),
  /** As the request named them; null when it named none that could be read. */
  hostId: z.string().nullable(),
  vmId: z.string().nullable(),
  state: BackupState,
  /** How far it is: where it is paused or is being cancelled, its state without that. */
  stage: BackupState,
  pausedAt: instant.nullable(),
  /** By whom, and why; while it is paused. */
  pauseReason: z.string().nullable(),
  origin: Origin,
  policyId: z.string().nullable(),
  requestedKind: z.enum(['auto', ...BackupKind.options]).nullable(),
  requestedMode: z.enum(['auto', ...TransportMode.options]).nullable(),
  /** The backup or recovery that had the VM's turn when this was asked for. */
  behindRunId: z.string().nullable(),
  parentBackupId: z.string().nullable(),
  kind: BackupKind.nullable(),
  mode: TransportMode.nullable(),
  modeReason: z.string().nullable(),
  proxiesCalculated: count.nullable(),
  /** What the run really got. */
  proxies: count.nullable(),
  proxiesShared: count.nullable(),
  waves: count.nullable(),
  shortfall: z.string().nullable(),
  diskBytes: count,
  /** Estimated when planned. */
  bytesToRead: count,
  readBytes: count,
  /** Covered by chunks in the repository, zero parts included. */
  receivedBytes: count,
  /** Bytes the repository grew by. */
  storedBytes: count,
  zeroBytes: count,
  chunks: count,
  newChunks: count,
  childJobs: count,
  childJobsDone: count,
  interruptions: count,
  requestedAt: instant.nullable(),
  triggeredAt: instant.nullable(),
  plannedAt: instant.nullable(),
  snapshotAt: instant.nullable(),
  activatedAt: instant.nullable(),
  startedAt: instant.nullable(),
  endedAt: instant.nullable(),
  /** When the host had everything back. */
  closedAt: instant.nullable(),
  /** Time for which it held ports, port by port: what it has cost. Known when it is closed. */
  portMilliseconds: count.nullable(),
  refusal: Refusal.nullable(),
  manifestDigest: z.string().nullable(),
  firstPosition: position,
  position,
});
export type BackupView = z.infer<typeof BackupView>;

export const ChildJobState = z.enum([
  'waiting',
  'leased',
  'running',
  'interrupted',
  'completed',
  /** Its backup or recovery ended before it did. */
  'abandoned',
]);
export type ChildJobState = z.infer<typeof ChildJobState>;

export const ChildJobView = z.object({
  childJobId: z.string(),
  backupId: z.string(),
  hostId: z.string(),
  vmId: z.string(),
  diskId: z.string(),
  state: ChildJobState,
  kind: BackupKind.nullable(),
  offset: count,
  length: count,
  estimatedBytes: count,
  attempt: count,
  wave: count.nullable(),
  /** Held now: null and empty while it holds none. */
  leaseId: z.string().nullable(),
  ports: z.array(count),
  /** Where it runs, or ran last. */
  proxyId: z.string().nullable(),
  receivedBytes: count,
  readBytes: count,
  storedBytes: count,
  zeroBytes: count,
  chunks: count,
  /** What the newest attempt did not have to read again. */
  resumedBytes: count,
  interruptions: count,
  lastInterruption: z.string().nullable(),
  startedAt: instant.nullable(),
  completedAt: instant.nullable(),
  firstPosition: position,
  /** Its place in the plan. */
  ordinal: count,
  position,
});
export type ChildJobView = z.infer<typeof ChildJobView>;

export const HostView = z.object({
  hostId: z.string(),
  kind: z.string().nullable(),
  address: z.string().nullable(),
  registeredAt: instant.nullable(),
  openRuns: count,
  /** What the proxies of this host have cost that are gone, as far as it is known, and how many those were. */
  proxyCost: ProxyCost.omit({ runs: true }).extend({ proxies: count }),
  drifts: count,
  lastDrift: z
    .object({
      what: z.string(),
      expected: z.string(),
      found: z.string(),
      repair: z.string(),
      at: instant,
    })
    .nullable(),
  position,
});
export type HostView = z.infer<typeof HostView>;

export const ProxyState = z.enum(['requested', 'active', 'idle', 'draining', 'lost', 'deactivated']);
export type ProxyState = z.infer<typeof ProxyState>;

export const ProxyView = z.object({
  hostId: z.string(),
  proxyId: z.string(),
  /** `host-export`: the host's own export, which stands in for proxies in direct-to-host mode. */
  kind: z.enum(['proxy-vm', 'host-export']),
  state: ProxyState,
  /** Why it was started, or why it is gone. */
  reason: z.string(),
  /** The backup or recovery it was started for; it may serve others since. */
  runId: z.string().nullable(),
  ports: z.array(
    z.object({
      port: count,
      endpoint: z.string(),
      /** The child job or data stream that holds it. Null: the port is free. */
      heldBy: z.string().nullable(),
      /** What it is held for. */
      purpose: Purpose.nullable(),
      leaseId: z.string().nullable(),
    }),
  ),
  freePorts: count,
  maxChildJobs: count.nullable(),
  attachments: z.array(
    z.object({ runId: z.string(), diskId: z.string(), exportName: z.string().nullable() }),
  ),
  leasesServed: count,
  /** As it was last judged, and by what. */
  health: HealthState,
  healthDetail: z.string(),
  /** By child jobs and data streams that completed, of runs that are closed. */
  movedBytes: count,
  /** Time for which they held ports meanwhile, port by port. */
  movedPortMilliseconds: count,
  /** What it has cost, once it is gone and where that is known. */
  cost: ProxyCost.nullable(),
  requestedAt: instant.nullable(),
  activatedAt: instant.nullable(),
  idleSince: instant.nullable(),
  endedAt: instant.nullable(),
  firstPosition: position,
  position,
});
export type ProxyView = z.infer<typeof ProxyView>;

/** Something taken from a host that has not been confirmed as given back. */
export const ObligationView = z.object({
  obligationId: z.string(),
  kind: z.enum(['snapshot', 'target', 'mount', 'proxy', 'attachment', 'lease']),
  hostId: z.string(),
  /** The backup or recovery that it was taken for. */
  runId: z.string(),
  proxyId: z.string().nullable(),
  diskId: z.string().nullable(),
  childJobId: z.string().nullable(),
  /** What it is, for people. */
  subject: z.string(),
  /** `requested`: it may exist. `standing`: it was confirmed. `lost`: it broke, and what is left is still to be cleared. */
  state: z.enum(['requested', 'standing', 'lost']),
  openedBy: z.string(),
  openedByEventId: z.string(),
  openedAt: instant,
  firstPosition: position,
  /** The event, or one of the events, that will close it. */
  closedBy: z.string(),
  position,
});
export type ObligationView = z.infer<typeof ObligationView>;

export const ScheduleView = z.object({
  scheduleId: z.string(),
  cron: z.string(),
  timeZone: z.string(),
  hostId: z.string(),
  vmId: z.string(),
  kind: z.enum(['auto', ...BackupKind.options]),
  policyId: z.string(),
  /** Null: as the policy says. */
  priority: Priority.nullable(),
  definedAt: instant,
  fired: count,
  lastDueAt: instant.nullable(),
  lastBackupId: z.string().nullable(),
  /** A clock had been ahead: until `setBackAt` the schedule stood at `setBackFrom`, in the future. Null: never since it was defined. */
  setBackFrom: instant.nullable(),
  setBackAt: instant.nullable(),
  position,
});
export type ScheduleView = z.infer<typeof ScheduleView>;

export const PolicyView = z.object({
  policyId: z.string(),
  policy: Policy,
  definedAt: instant,
  /** How often it was defined, this one included. Running backups keep the policy they were triggered with. */
  definitions: count,
  position,
});
export type PolicyView = z.infer<typeof PolicyView>;

export const HostPolicyView = z.object({
  hostId: z.string(),
  policy: HostPolicy,
  revision: count,
  definedAt: instant,
  /** The definition that the host's pool is decided under; null before it has taken up the first. */
  adoptedRevision: count.nullable(),
  adoptedAt: instant.nullable(),
  position,
});
export type HostPolicyView = z.infer<typeof HostPolicyView>;

export const DeploymentPolicyView = z.object({
  scope: z.literal('deployment'),
  policy: DeploymentPolicy,
  definedAt: instant,
  position,
});
export type DeploymentPolicyView = z.infer<typeof DeploymentPolicyView>;

/** What another policy would have made of a run: nobody acted on it. */
export const ShadowPlanView = z.object({
  runId: z.string(),
  /** The shadow. */
  policyId: z.string(),
  /** The policy of the plan that was carried out. */
  livePolicyId: z.string(),
  hostId: z.string(),
  vmId: z.string(),
  purpose: Purpose,
  /** Whether mode, child jobs, proxies and waves come to the same. */
  state: z.enum(['same', 'otherwise']),
  live: PlanSummary,
  shadow: PlanSummary,
  calculatedAt: instant,
  position,
});
export type ShadowPlanView = z.infer<typeof ShadowPlanView>;

/** A message that can never work, and why. */
export const DeadLetterView = z.object({
  deadLetterId: z.string(),
  /** Who could not handle it. */
  consumer: z.string(),
  subject: z.string(),
  messageId: z.string(),
  eventId: z.string().nullable(),
  reason: z.string(),
  createdAt: instant,
  /** When somebody had it sent again, who and why; null while it waits for somebody. */
  redrivenAt: instant.nullable(),
  redrivenBy: z.string().nullable(),
  redriveReason: z.string().nullable(),
  /** When its service had heard of that, and the message could be handled again. */
  sentAt: instant.nullable(),
  /** The letter that it became when it could not be handled then, either. */
  cameBackAs: z.string().nullable(),
});
export type DeadLetterView = z.infer<typeof DeadLetterView>;

/**
 * What the console answers over HTTP (`/api/v1`): the shapes shared by the console, its client and whoever reads the
 * OpenAPI document made from them. Every item of a list is a row of the projection of the same name, derived from events
 * alone. `position` is the last event that changed the row; `asOf` the last event that any row of the answer has seen.
 */
import { z } from 'zod';
import { Origin } from './backup-events.ts';
import { Policy } from './policy.ts';
import { BackupKind, Refusal, RestorePoint, TransportMode } from './vocabulary.ts';

const count = z.int().nonnegative();
const position = z.int().nonnegative();
const instant = z.iso.datetime();

export const BackupOutcome = z.enum(['completed', 'failed', 'refused', 'cancelled']);
export type BackupOutcome = z.infer<typeof BackupOutcome>;

export const VmView = z.object({
  hostId: z.string(),
  vmId: z.string(),
  runningBackupId: z.string().nullable(),
  /** In the order in which they will have their turn. */
  queuedBackupIds: z.array(z.string()),
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
  ...BackupOutcome.options,
]);
export type BackupState = z.infer<typeof BackupState>;

export const BackupView = z.object({
  backupId: z.string(),
  /** As the request named them; null when it named none that could be read. */
  hostId: z.string().nullable(),
  vmId: z.string().nullable(),
  state: BackupState,
  origin: Origin,
  policyId: z.string().nullable(),
  requestedKind: z.enum(['auto', ...BackupKind.options]).nullable(),
  requestedMode: z.enum(['auto', ...TransportMode.options]).nullable(),
  behindBackupId: z.string().nullable(),
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
  /** Its backup ended before it did. */
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

export const ProxyState = z.enum(['requested', 'active', 'idle', 'lost', 'deactivated']);
export type ProxyState = z.infer<typeof ProxyState>;

export const ProxyView = z.object({
  hostId: z.string(),
  proxyId: z.string(),
  /** `host-export`: the host's own export, which stands in for proxies in direct-to-host mode. */
  kind: z.enum(['proxy-vm', 'host-export']),
  state: ProxyState,
  /** Why it was started, or why it is gone. */
  reason: z.string(),
  /** The backup it was started for; it may serve others since. */
  backupId: z.string().nullable(),
  ports: z.array(
    z.object({
      port: count,
      endpoint: z.string(),
      /** Null: the port is free. */
      heldBy: z.string().nullable(),
      leaseId: z.string().nullable(),
    }),
  ),
  freePorts: count,
  maxChildJobs: count.nullable(),
  attachments: z.array(
    z.object({ backupId: z.string(), diskId: z.string(), exportName: z.string().nullable() }),
  ),
  leasesServed: count,
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
  kind: z.enum(['snapshot', 'proxy', 'attachment', 'lease']),
  hostId: z.string(),
  backupId: z.string(),
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
  /** The event that will close it. */
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
  definedAt: instant,
  fired: count,
  lastDueAt: instant.nullable(),
  lastBackupId: z.string().nullable(),
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
  /** When it was sent again; null while it waits for somebody. */
  redrivenAt: instant.nullable(),
});
export type DeadLetterView = z.infer<typeof DeadLetterView>;

/** An event of the log, as it was recorded and lifted to its newest schema. */
export const RecordedEvent = z.object({
  eventId: z.string(),
  position,
  stream: z.string(),
  category: z.string(),
  version: count,
  type: z.string(),
  schemaVersion: count,
  data: z.record(z.string(), z.unknown()),
  metadata: z.object({
    correlation: z.string(),
    causation: z.string(),
    traceparent: z.string().optional(),
    actor: z.string(),
  }),
  recordedAt: z.string(),
});
export type RecordedEvent = z.infer<typeof RecordedEvent>;

const reasoned = z.object({ subject: z.string(), reason: z.string() });

/** Why a backup went as it went, told from its events alone. Null or empty: it has not come to that yet, or never did. */
export const Explanation = z.object({
  backupId: z.string(),
  state: BackupState,
  request: z.string(),
  mode: z.object({ mode: TransportMode, reason: z.string() }).nullable(),
  kind: z.object({ kind: BackupKind, disks: z.array(reasoned) }).nullable(),
  /** The plan in sentences, with the arithmetic of its quantity, so that it can be redone on paper. */
  plan: z.array(z.string()),
  proxies: z.array(
    z.object({
      proxyId: z.string(),
      shared: z.boolean(),
      reason: z.string(),
      ports: count,
      leases: count,
      outcome: z.string().nullable(),
    }),
  ),
  shortfall: z.string().nullable(),
  waves: z.array(z.object({ wave: count, childJobs: count, proxies: count })),
  fallbacks: z.array(reasoned),
  retries: z.array(
    z.object({ childJobId: z.string(), attempt: count, proxyId: z.string(), reason: z.string() }),
  ),
  losses: z.array(reasoned),
  outcome: z.string(),
  refusal: Refusal.nullable(),
  /** All of the above for a terminal. */
  lines: z.array(z.string()),
});
export type Explanation = z.infer<typeof Explanation>;

export const ConsoleStatus = z.object({
  logHighWater: position,
  checkpoint: position,
  /** At most: positions that were taken and never used count, too. */
  behindEvents: count,
  /** Age of the oldest event that no projection has seen. */
  behindMilliseconds: z.number().nonnegative(),
  generation: count,
  /** Why the projections do not move on, when they cannot. */
  problem: z.string().nullable(),
  rebuild: z
    .object({ generation: count, checkpoint: position, startedAt: instant, reason: z.string() })
    .nullable(),
});
export type ConsoleStatus = z.infer<typeof ConsoleStatus>;

export const RebuildStarted = z.object({ generation: count, alreadyRunning: z.boolean() });
export type RebuildStarted = z.infer<typeof RebuildStarted>;

/** RFC 9457, with the way out. */
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  instance: z.string().optional(),
  code: z.string(),
  wayOut: z.string().optional(),
});
export type Problem = z.infer<typeof Problem>;

export const listOf = <T extends z.ZodType>(item: T) =>
  z.object({
    asOf: position,
    items: z.array(item),
    /** Give it as `after` for the next page; null on the last. */
    next: z.string().nullable(),
  });
export const oneOf = <T extends z.ZodType>(item: T) => z.object({ asOf: position, item });

/** A filter takes one value or several with commas between them. Without values of its own, any name will do. */
const named = z.string();
/** Every list there is, by the last part of its path, with what it can be filtered by. */
export const lists = {
  vms: { item: VmView, filters: { host: named, vm: named } },
  backups: { item: BackupView, filters: { state: BackupState, host: named, vm: named } },
  'child-jobs': {
    item: ChildJobView,
    filters: { state: ChildJobState, backup: named, host: named, vm: named },
  },
  hosts: { item: HostView, filters: { host: named } },
  proxies: { item: ProxyView, filters: { state: ProxyState, host: named } },
  obligations: {
    item: ObligationView,
    filters: {
      kind: ObligationView.shape.kind,
      state: ObligationView.shape.state,
      backup: named,
      host: named,
    },
  },
  schedules: { item: ScheduleView, filters: { host: named, vm: named } },
  policies: { item: PolicyView, filters: {} },
  'dead-letters': { item: DeadLetterView, filters: { state: z.enum(['open', 'redriven']) } },
} as const;
export type ListName = keyof typeof lists;
export type ListItem<L extends ListName> = z.infer<(typeof lists)[L]['item']>;
export type ListFilter<L extends ListName> = keyof (typeof lists)[L]['filters'] & string;

/**
 * What the console answers over HTTP (`/api/v1`): the shapes shared by the console, its client and whoever reads the
 * OpenAPI document made from them. `asOf` is the last event of the log that anything in the answer has seen.
 */
import { z } from 'zod';
import { DataStreamView, RecoveryState, RecoveryView } from './console-recovery-views.ts';
import {
  BackupState,
  BackupView,
  ChildJobState,
  ChildJobView,
  DeadLetterView,
  DeploymentPolicyView,
  HostPolicyView,
  HostView,
  ObligationView,
  PolicyView,
  ProxyState,
  ProxyView,
  ScheduleView,
  ShadowPlanView,
  VmView,
} from './console-views.ts';
import { ProxyCandidate } from './proxy-events.ts';
import { BackupKind, Refusal, TransportMode } from './vocabulary.ts';

export * from './console-queue-view.ts';
export * from './console-recovery-views.ts';
export * from './console-views.ts';

const count = z.int().nonnegative();
const position = z.int().nonnegative();
const instant = z.iso.datetime();

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

const explained = {
  request: z.string(),
  mode: z.object({ mode: TransportMode, reason: z.string() }).nullable(),
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
  /** Every choice of proxies, with all that were looked at: the first, and those made again, after a pause or after losses. */
  choices: z.array(
    z.object({
      asked: count,
      candidates: z.array(ProxyCandidate),
      candidatesLeftOut: count,
      afterPause: z.boolean(),
    }),
  ),
  /** Of a recovery, the child jobs are its data streams. */
  waves: z.array(z.object({ wave: count, childJobs: count, proxies: count })),
  retries: z.array(
    z.object({ childJobId: z.string(), attempt: count, proxyId: z.string(), reason: z.string() }),
  ),
  losses: z.array(reasoned),
  outcome: z.string(),
  refusal: Refusal.nullable(),
  /** All of the above for a terminal. */
  lines: z.array(z.string()),
};

/** Why a backup went as it went, told from its events alone. Null or empty: it has not come to that yet, or never did. */
export const Explanation = z.object({
  backupId: z.string(),
  state: BackupState,
  ...explained,
  kind: z.object({ kind: BackupKind, disks: z.array(reasoned) }).nullable(),
  fallbacks: z.array(reasoned),
});
export type Explanation = z.infer<typeof Explanation>;

/** The same of a recovery. */
export const RecoveryExplanation = z.object({
  recoveryId: z.string(),
  state: RecoveryState,
  ...explained,
  /** After a failure over a damaged restore point: the newest older one that is whole. */
  alternative: RecoveryView.shape.alternative,
});
export type RecoveryExplanation = z.infer<typeof RecoveryExplanation>;

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
  recoveries: {
    item: RecoveryView,
    filters: { state: RecoveryState, backup: named, host: named, vm: named },
  },
  'data-streams': {
    item: DataStreamView,
    filters: { state: ChildJobState, recovery: named, host: named, vm: named },
  },
  hosts: { item: HostView, filters: { host: named } },
  proxies: { item: ProxyView, filters: { state: ProxyState, host: named } },
  obligations: {
    item: ObligationView,
    filters: {
      kind: ObligationView.shape.kind,
      state: ObligationView.shape.state,
      run: named,
      host: named,
    },
  },
  schedules: { item: ScheduleView, filters: { host: named, vm: named } },
  policies: { item: PolicyView, filters: {} },
  'host-policies': { item: HostPolicyView, filters: { host: named } },
  'shadow-plans': {
    item: ShadowPlanView,
    filters: { state: ShadowPlanView.shape.state, host: named, vm: named, run: named },
  },
  'deployment-policy': { item: DeploymentPolicyView, filters: {} },
  'dead-letters': { item: DeadLetterView, filters: { state: z.enum(['open', 'redriven']) } },
} as const;
export type ListName = keyof typeof lists;
export type ListItem<L extends ListName> = z.infer<(typeof lists)[L]['item']>;
export type ListFilter<L extends ListName> = keyof (typeof lists)[L]['filters'] & string;

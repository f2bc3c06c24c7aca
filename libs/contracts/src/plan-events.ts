/** Owned by planner. Stream `plan-<backupId>`: what was found at the VM, and what was calculated from it. */
import { z } from 'zod';
import { defineEvent, unchanged } from './define-event.ts';
import { Policy, withNewerPolicyFields, withPriority } from './policy.ts';
import { Priority } from './priority.ts';
import {
  BackupId,
  BackupKind,
  Bytes,
  ChildJobId,
  DiskId,
  HostId,
  ImageIdentity,
  Instant,
  Refusal,
  RestorePoint,
  TransportMode,
  VmId,
} from './vocabulary.ts';

/**
 * How data is spread over a disk: bytes per bucket of `bucketBytes` (a multiple of the chunk size), at most 256 buckets.
 * A bounded stand-in for the extent list, exact in its sum, that lets the planner cut child jobs of equal work.
 */
export const Density = z.object({ bucketBytes: Bytes, buckets: z.array(Bytes).max(256) });
export type Density = z.infer<typeof Density>;

/** What the changed-block tracking of a disk is worth, and when it is worth nothing, exactly why. */
export const ChangeTracking = z.discriminatedUnion('state', [
  z.object({ state: z.literal('usable'), checkpoint: z.string(), changed: Density }),
  z.object({
    state: z.literal('unusable'),
    code: z.enum([
      'NoParent',
      'FormatWithoutTracking',
      'CheckpointAbsent',
      'CheckpointInconsistent',
      'CheckpointDisabled',
      'CheckpointBusy',
      'GranularityChanged',
      'ImageReplaced',
      'SizeChanged',
      'DiskNotInParent',
      'ParentHasNoCheckpoint',
    ]),
    reason: z.string(),
  }),
]);
export type ChangeTracking = z.infer<typeof ChangeTracking>;

export const InspectedDisk = z.object({
  diskId: DiskId,
  sizeBytes: Bytes,
  identity: ImageIdentity,
  /** Where data is allocated: what a full has to read. */
  allocated: Density,
  tracking: ChangeTracking,
});
export type InspectedDisk = z.infer<typeof InspectedDisk>;

export const Inspection = z.object({
  hostId: HostId,
  vmId: VmId,
  disks: z.array(InspectedDisk),
  /** Each mode, and why it cannot be used where it cannot. */
  modes: z.record(TransportMode, z.object({ available: z.boolean(), reason: z.string().optional() })),
});
export type Inspection = z.infer<typeof Inspection>;

/** The host's answer, kept as an event because a replay cannot ask the host again. */
export const VmInspected = defineEvent('plan', 'VmInspected', Inspection.extend({ backupId: BackupId }));

export const PlannedChildJob = z.object({
  childJobId: ChildJobId,
  diskId: DiskId,
  /** The portion of the disk that is this job's alone. The jobs of a disk cover all of it, in order. */
  offset: Bytes,
  length: Bytes,
  estimatedBytes: Bytes,
});
export type PlannedChildJob = z.infer<typeof PlannedChildJob>;

export const PlannedDisk = z.object({
  diskId: DiskId,
  sizeBytes: Bytes,
  kind: BackupKind,
  /** Why this kind: for a full in a backup that could have been incremental, what was wrong. */
  kindReason: z.string(),
  bytesToRead: Bytes,
  childJobs: z.int().positive(),
});
export type PlannedDisk = z.infer<typeof PlannedDisk>;

/** What decides who comes before whom (priority.ts). `askedAt`: when the run was asked for; null in plans that did not say so yet. */
export const precedence = { priority: Priority, askedAt: Instant.nullable() };

/** Upcaster of plans that had none. */
export const withPrecedence = (stored: unknown): unknown => ({
  ...(withPriority(stored) as object),
  askedAt: null,
});

export const Plan = z.object({
  backupId: BackupId,
  hostId: HostId,
  vmId: VmId,
  parent: RestorePoint.nullable(),
  policy: Policy,
  ...precedence,
  /** Incremental when any disk is. */
  kind: BackupKind,
  mode: TransportMode,
  modeReason: z.string(),
  disks: z.array(PlannedDisk),
  childJobs: z.array(PlannedChildJob),
  /** Every number the quantity came from, so that a person can redo it on paper. */
  arithmetic: z.object({
    totalBytes: Bytes,
    childJobBytes: Bytes,
    childJobs: z.int(),
    maxChildJobsPerProxy: z.int(),
    maxPortsPerProxy: z.int(),
    portsPerChildJob: z.int(),
    capacityPerProxy: z.int(),
    /** Bytes over their thresholds: from 1 on the backup is above. A threshold of 0 counts as 1. */
    thresholdShare: z.number(),
    /** Proxies of the host that were up and had ports for a child job when this was planned. */
    activeProxies: z.int().nonnegative().optional(),
  }),
  /** Proxies calculated, and proxies after the limits: 0 in direct-to-host mode. */
  proxiesCalculated: z.int().nonnegative(),
  proxies: z.int().nonnegative(),
  /** Of those, how many are expected to be shared with proxies that are active already. */
  expectedShared: z.int().nonnegative(),
  waves: z.int().positive(),
  limitedBy: z.array(z.object({ limit: z.string(), value: z.int(), effect: z.string() })),
  rejected: z.array(z.object({ what: z.string(), why: z.string() })),
  /** Up to which event of the host's stream `activeProxies` were counted. */
  hostVersion: z.int().nonnegative().optional(),
});
export type Plan = z.infer<typeof Plan>;

/**
 * The plan. Nothing that runs it has a choice left but which of equal proxies to use, and that is recorded too. Version 3:
 * `hostVersion`; 4: `priority`, `askedAt`.
 */
export const ProxiesCalculated = defineEvent('plan', 'ProxiesCalculated', Plan, [
  withNewerPolicyFields,
  unchanged,
  withPrecedence,
]);

export const PlanRefused = defineEvent(
  'plan',
  'PlanRefused',
  z.object({ backupId: BackupId, hostId: HostId, vmId: VmId, refusal: Refusal }),
);

/** Owned by planner. Stream `plan-<recoveryId>`: what was found in the restore point and at the host, and what was calculated from it. */
import { z } from 'zod';
import { defineEvent, unchanged } from './define-event.ts';
import { Density, PlannedChildJob, precedence, withPrecedence } from './plan-events.ts';
import { Policy } from './policy.ts';
import {
  BackupId,
  Bytes,
  Digest,
  DiskId,
  HostId,
  InstantRecovery,
  Machine,
  RecoveryId,
  Refusal,
  TransportMode,
  VmId,
} from './vocabulary.ts';

export const RecoveryInspection = z.object({
  hostId: HostId,
  vmId: VmId,
  /** From the manifest: where each disk holds data that is not zero. */
  disks: z.array(z.object({ diskId: DiskId, sizeBytes: Bytes, data: Density })),
  /** From the host: each mode, and why it cannot be used where it cannot. */
  modes: z.record(TransportMode, z.object({ available: z.boolean(), reason: z.string().optional() })),
  /** From the host: whether a VM can start before its disks are filled. Absent where nobody asked the host. */
  instant: z.object({ available: z.boolean(), reason: z.string().optional() }).optional(),
  /** Room where the disks will be; null where the host cannot say. */
  freeBytes: Bytes.nullable(),
});
export type RecoveryInspection = z.infer<typeof RecoveryInspection>;

/** The answers of repository and host, kept as an event because a replay cannot ask them again. Version 2: `instant`. */
export const RecoveryInspected = defineEvent(
  'plan',
  'RecoveryInspected',
  RecoveryInspection.extend({ recoveryId: RecoveryId, backupId: BackupId }),
  [unchanged],
);

export const RecoveryPlan = z.object({
  recoveryId: RecoveryId,
  backupId: BackupId,
  manifestDigest: Digest,
  hostId: HostId,
  vmId: VmId,
  policy: Policy,
  ...precedence,
  mode: TransportMode,
  modeReason: z.string(),
  disks: z.array(
    z.object({ diskId: DiskId, sizeBytes: Bytes, bytesToWrite: Bytes, streams: z.int().nonnegative() }),
  ),
  /** The data streams: each writes a portion of one disk that is its alone. Those of a disk cover all of it, in order. */
  childJobs: z.array(PlannedChildJob),
  replace: z.boolean(),
  start: z.boolean(),
  verify: z.boolean(),
  /** Then there are no data streams: the host fills the disks of the running VM from a mount. */
  instant: InstantRecovery.optional(),
  machine: Machine,
  /** Every number the second quantity came from, so that a person can redo it on paper. */
  arithmetic: z.object({
    totalBytes: Bytes,
    disks: z.int(),
    maxStreamsPerDisk: z.int(),
    /** `disks * maxStreamsPerDisk`. */
    streams: z.int(),
    portsPerStream: z.int(),
    maxPortsPerProxy: z.int(),
    maxChildJobsPerProxy: z.int(),
    /** Streams that one proxy can serve at a time, by its ports and by its child jobs. */
    capacityPerProxy: z.int(),
    /** Bytes over the threshold: from 1 on the recovery is above. A threshold of 0 counts as 1. */
    thresholdShare: z.number(),
    activeProxies: z.int().nonnegative(),
  }),
  proxiesCalculated: z.int().nonnegative(),
  proxies: z.int().nonnegative(),
  expectedShared: z.int().nonnegative(),
  waves: z.int().positive(),
  limitedBy: z.array(z.object({ limit: z.string(), value: z.int(), effect: z.string() })),
  rejected: z.array(z.object({ what: z.string(), why: z.string() })),
  /** Up to which event of the host's stream `activeProxies` were counted. */
  hostVersion: z.int().nonnegative().optional(),
});
export type RecoveryPlan = z.infer<typeof RecoveryPlan>;

/** The plan, with the second quantity. Nothing that runs it has a choice left but which of equal proxies to use. Version 2: `instant`; 3: `hostVersion`; 4: `priority`, `askedAt`. */
export const RecoveryProxiesCalculated = defineEvent('plan', 'RecoveryProxiesCalculated', RecoveryPlan, [
  unchanged,
  unchanged,
  withPrecedence,
]);

export const RecoveryPlanRefused = defineEvent(
  'plan',
  'RecoveryPlanRefused',
  z.object({ recoveryId: RecoveryId, hostId: HostId, vmId: VmId, refusal: Refusal }),
);

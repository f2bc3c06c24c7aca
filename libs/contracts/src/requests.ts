/**
 * What upstream systems send, and what they are answered. Requests go to `req.trigger.<name>` on NATS or as the body of
 * the same call over HTTP; answers go to `ans.<requestId>` on NATS (subscribe first) or come back in the response.
 */
import { z } from 'zod';
import { DeploymentPolicyChanges, HostPolicyChanges } from './host-policy.ts';
import { Policy, PolicyChanges } from './policy.ts';
import { Priority } from './priority.ts';
import {
  BackupId,
  BackupKind,
  DeadLetterId,
  DiskId,
  HostId,
  Machine,
  Name,
  PolicyId,
  RecoveryId,
  Refusal,
  TransportMode,
  VmId,
} from './vocabulary.ts';

/** Only what is asked is bounded: what is in the log stays readable, whatever it is. */
const DISKS_MAX = 1_000;

/** Part of a NATS subject: no dots, spaces or wildcards. */
export const RequestId = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,100}$/, 'must be 1 to 100 letters, digits, "-" or "_"');

/**
 * Subject `req.trigger.BackupRequested`. The same `requestId` again is the same request: one backup, and an answer that says where it stands.
 * What could not be read is corrected and sent again under the same one.
 */
export const BackupRequested = z.strictObject({
  requestId: RequestId,
  host: HostId,
  vm: VmId,
  kind: z.enum(['auto', ...BackupKind.options]).default('auto'),
  mode: z.enum(['auto', ...TransportMode.options]).default('auto'),
  policy: PolicyId.default('default'),
  /** Without it, the policy's. */
  priority: Priority.optional(),
  requestedBy: z.string().max(200).optional(),
});
export type BackupRequested = z.infer<typeof BackupRequested>;

const ordered = {
  requestId: RequestId,
  requestedBy: z.string().max(200).optional(),
};
const reason = (otherwise: string) => z.string().min(1).max(1_000).default(otherwise);

/** At any stage. `accepted`: it will end, and what it took is given back; how it has ended is told to whoever had asked for it. */
export const BackupCancellationRequested = z.strictObject({
  ...ordered,
  backupId: BackupId,
  reason: reason('cancelled on request'),
});

/** Proxies and ports go to others, the point in time stays. One that is paused already stays so. */
export const BackupPauseRequested = z.strictObject({
  ...ordered,
  backupId: BackupId,
  reason: reason('paused on request'),
});

/** From where it stood. One that is not paused goes on. */
export const BackupResumeRequested = z.strictObject({
  ...ordered,
  backupId: BackupId,
  reason: reason('resumed on request'),
});

/**
 * Subject `req.trigger.RecoveryRequested`: makes a VM `vm` at `host` of the restore point that a backup left. The same `requestId`
 * again is the same request: one recovery.
 */
export const RecoveryRequested = z.strictObject({
  requestId: RequestId,
  backup: BackupId,
  host: HostId,
  vm: VmId,
  /** Without it, all the disks that the restore point has. */
  disks: z.array(DiskId).min(1).max(DISKS_MAX).optional(),
  mode: z.enum(['auto', ...TransportMode.options]).default('auto'),
  policy: PolicyId.default('default'),
  /** Without it, the policy's. */
  priority: Priority.optional(),
  /** Over a VM of that name, which must be off. */
  replace: z.boolean().default(false),
  start: z.boolean().default(false),
  /** Compare all that was written, instead of a sample. */
  verify: z.boolean().default(false),
  /** The VM starts at once, from a mount of the restore point, and its disks are filled behind it. Implies `start`. */
  instant: z.boolean().default(false),
  /** For an instant recovery: no faster than this. */
  fillBytesPerSecond: z.int().positive().optional(),
  machine: Machine.prefault({}),
  requestedBy: z.string().max(200).optional(),
});
export type RecoveryRequested = z.infer<typeof RecoveryRequested>;

/** At any stage but the last: a VM that is there already, or is being made of written disks, stays. */
export const RecoveryCancellationRequested = z.strictObject({
  ...ordered,
  recoveryId: RecoveryId,
  reason: reason('cancelled on request'),
});

export const RecoveryPauseRequested = z.strictObject({
  ...ordered,
  recoveryId: RecoveryId,
  reason: reason('paused on request'),
});

export const RecoveryResumeRequested = z.strictObject({
  ...ordered,
  recoveryId: RecoveryId,
  reason: reason('resumed on request'),
});

export const ScheduleRequested = z.strictObject({
  requestId: RequestId,
  scheduleId: Name,
  cron: z.string().min(1).max(200),
  timeZone: z.string().max(100).default('UTC'),
  host: HostId,
  vm: VmId,
  kind: z.enum(['auto', ...BackupKind.options]).default('auto'),
  policy: PolicyId.default('default'),
  priority: Priority.optional(),
});
export const ScheduleRemovalRequested = z.strictObject({ requestId: RequestId, scheduleId: Name });
/** Strict here, so that a misspelt field is refused and not taken for its default. */
export const PolicyRequested = z.strictObject({ requestId: RequestId, policy: z.strictObject(Policy.shape) });
/** Of that policy, or of the default where nobody has defined it yet: what is not named keeps its value. */
export const PolicyChangeRequested = z.strictObject({
  requestId: RequestId,
  policy: PolicyId,
  changes: PolicyChanges,
  requestedBy: z.string().max(200).optional(),
});

/** What is not named keeps its value; `null` takes a limit away. */
export const HostPolicyRequested = z.strictObject({
  requestId: RequestId,
  host: HostId,
  changes: HostPolicyChanges,
  requestedBy: z.string().max(200).optional(),
});
export const DeploymentPolicyRequested = z.strictObject({
  requestId: RequestId,
  changes: DeploymentPolicyChanges,
  requestedBy: z.string().max(200).optional(),
});

/** Has a message that a service gave up sent to it again. The same `requestId` again is the same redrive. */
export const RedriveRequested = z.strictObject({
  requestId: RequestId,
  letter: DeadLetterId,
  reason: z.string().min(1).max(1_000).default('sent again on request'),
  requestedBy: z.string().max(200).optional(),
});
export type RedriveRequested = z.infer<typeof RedriveRequested>;

/** Every request there is, by the last token of its subject. */
export const requests = {
  BackupRequested,
  BackupCancellationRequested,
  BackupPauseRequested,
  BackupResumeRequested,
  RecoveryRequested,
  RecoveryCancellationRequested,
  RecoveryPauseRequested,
  RecoveryResumeRequested,
  ScheduleRequested,
  ScheduleRemovalRequested,
  PolicyRequested,
  PolicyChangeRequested,
  HostPolicyRequested,
  DeploymentPolicyRequested,
  RedriveRequested,
} as const;
export type RequestName = keyof typeof requests;

export const Answer = z.object({
  requestId: z.string(),
  outcome: z.enum(['accepted', 'refused', 'completed', 'failed']),
  backupId: BackupId.optional(),
  recoveryId: RecoveryId.optional(),
  refusal: Refusal.optional(),
});
export type Answer = z.infer<typeof Answer>;

export const requestSubject = (name: RequestName): string => `req.trigger.${name}`;
export const answerSubject = (requestId: string): string => `ans.${requestId}`;

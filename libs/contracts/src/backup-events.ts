/** Owned by trigger. Stream `backup-<backupId>`: one request and what became of it. And what requests are made with: schedules and policies. */
import { z } from 'zod';
import { defineEvent, unchanged } from './define-event.ts';
import { Policy, withNewerPolicyFields, withPriority } from './policy.ts';
import { Priority } from './priority.ts';
import {
  BackupId,
  BackupKind,
  HostId,
  Instant,
  Name,
  PolicyId,
  Refusal,
  RestorePoint,
  RunId,
  TransportMode,
  VmId,
} from './vocabulary.ts';

/** Where a request came from. `requestId` is the requester's: the same id twice is the same request. */
export const Origin = z.object({
  via: z.enum(['nats', 'http', 'schedule']),
  requestId: z.string().min(1),
  requestedBy: z.string().optional(),
  scheduleId: z.string().optional(),
});
export type Origin = z.infer<typeof Origin>;

/** All that a backup needs to start, now or later. */
export const BackupAsked = z.object({
  backupId: BackupId,
  hostId: HostId,
  vmId: VmId,
  /** `auto`: incremental where a usable parent stands, else full. */
  kind: z.enum(['auto', ...BackupKind.options]),
  /** A mode here overrides the policy's. */
  mode: z.enum(['auto', ...TransportMode.options]),
  policy: Policy,
  /** The request's, or else the policy's. */
  priority: Priority,
  origin: Origin,
  requestedAt: Instant,
});
export type BackupAsked = z.infer<typeof BackupAsked>;

/** The backup starts now: this VM has no other backup running. `parent` is its newest restore point, or null. Version 3: `priority`. */
export const BackupTriggered = defineEvent(
  'backup',
  'BackupTriggered',
  BackupAsked.extend({ parent: RestorePoint.nullable() }),
  [withNewerPolicyFields, withPriority],
);

/** Accepted, but something else runs for the VM: it is triggered when that one has ended. Version 3: `priority`. */
export const BackupQueued = defineEvent('backup', 'BackupQueued', BackupAsked.extend({ behind: RunId }), [
  withNewerPolicyFields,
  withPriority,
]);

/** The request will not be done. `request` is what was asked, as it came, cut at 16 KiB. */
export const BackupRefused = defineEvent(
  'backup',
  'BackupRefused',
  z.object({ backupId: BackupId, origin: Origin, refusal: Refusal, request: z.string(), refusedAt: Instant }),
);

export const BackupCancelled = defineEvent(
  'backup',
  'BackupCancelled',
  z.object({ backupId: BackupId, hostId: HostId, vmId: VmId, cancelledBy: z.string(), reason: z.string() }),
);

const started = { backupId: BackupId, hostId: HostId, vmId: VmId };

/**
 * It has started, and is to end without a restore point. Ingest, whose word the end of a backup is, says what came first: BackupFailed with
 * the code `BackupCancelled`, or BackupCompleted.
 */
export const BackupCancelOrdered = defineEvent(
  'backup',
  'BackupCancelOrdered',
  z.object({ ...started, cancelledBy: z.string(), reason: z.string(), orderedAt: Instant }),
);

/**
 * Nothing more of it begins, and what is under way stops, until BackupResumed. It keeps its place in the line, or its snapshot. `number`
 * counts its pauses and resumptions, because news of them may be heard in any order.
 */
export const BackupPaused = defineEvent(
  'backup',
  'BackupPaused',
  z.object({
    ...started,
    number: z.int().positive(),
    pausedBy: z.string(),
    reason: z.string(),
    pausedAt: Instant,
  }),
);

/** The inverse of BackupPaused: it goes on from where it stood. */
export const BackupResumed = defineEvent(
  'backup',
  'BackupResumed',
  z.object({
    ...started,
    number: z.int().positive(),
    resumedBy: z.string(),
    reason: z.string(),
    resumedAt: Instant,
  }),
);

/** Version 2: `priority`. */
export const ScheduleDefined = defineEvent(
  'schedule',
  'ScheduleDefined',
  z.object({
    scheduleId: Name,
    /** Five or six cron fields, in the time zone named. */
    cron: z.string().min(1),
    timeZone: z.string().default('UTC'),
    hostId: HostId,
    vmId: VmId,
    kind: z.enum(['auto', ...BackupKind.options]),
    policyId: PolicyId,
    /** Absent: as the policy says. */
    priority: Priority.optional(),
    definedAt: Instant,
  }),
  [unchanged],
);

export const ScheduleRemoved = defineEvent(
  'schedule',
  'ScheduleRemoved',
  z.object({ scheduleId: Name, removedAt: Instant }),
);

/** The schedule came due at `dueAt` and asked for a backup, once, however many triggers run. */
export const ScheduleFired = defineEvent(
  'schedule',
  'ScheduleFired',
  z.object({ scheduleId: Name, dueAt: Instant, firedAt: Instant, backupId: BackupId }),
);

/**
 * The schedule had been fired, or defined, at `from`, which lay in the future of the log's clock at `setBackAt`: a clock had been ahead.
 * That is not believed any more, and it goes on after `to`, the newest due time before that was fired; null: none was.
 */
export const ScheduleSetBack = defineEvent(
  'schedule',
  'ScheduleSetBack',
  z.object({ scheduleId: Name, from: Instant, to: Instant.nullable(), setBackAt: Instant }),
);

/**
 * The schedule will come due at `dueAt`, and ask for this backup: said once, as long before as the policy of the host wants to hear of it
 * (`preStartMinutes`). A schedule that is changed or removed meanwhile may never ask.
 */
export const ScheduleApproaching = defineEvent(
  'schedule',
  'ScheduleApproaching',
  z.object({
    scheduleId: Name,
    hostId: HostId,
    vmId: VmId,
    backupId: BackupId,
    dueAt: Instant,
    announcedAt: Instant,
  }),
);

/** Version 3: `backupPriority` and `recoveryPriority`. */
export const PolicyDefined = defineEvent(
  'policy',
  'PolicyDefined',
  z.object({ policy: Policy, definedAt: Instant }),
  [withNewerPolicyFields, withNewerPolicyFields],
);

/** Owned by trigger. Streams `backup-<backupId>` (one request and what became of it) and `vm-<hostId>.<vmId>` (whose turn it is). */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import { Policy } from './policy.ts';
import {
  BackupId,
  BackupKind,
  HostId,
  Instant,
  Name,
  PolicyId,
  Refusal,
  RestorePoint,
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

const asked = {
  backupId: BackupId,
  hostId: HostId,
  vmId: VmId,
  /** `auto`: incremental where a usable parent stands, else full. */
  kind: z.enum(['auto', ...BackupKind.options]),
  /** A mode here overrides the policy's. */
  mode: z.enum(['auto', ...TransportMode.options]),
  policy: Policy,
  origin: Origin,
  requestedAt: Instant,
};

/** The backup starts now: this VM has no other backup running. `parent` is its newest restore point, or null. */
export const BackupTriggered = defineEvent(
  'backup',
  'BackupTriggered',
  z.object({ ...asked, parent: RestorePoint.nullable() }),
);

/** Accepted, but another backup of the VM runs: it is triggered when that one has ended. */
export const BackupQueued = defineEvent('backup', 'BackupQueued', z.object({ ...asked, behind: BackupId }));

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

/** The VM's turn was given to this backup. */
export const VmClaimed = defineEvent(
  'vm',
  'VmClaimed',
  z.object({ hostId: HostId, vmId: VmId, backupId: BackupId }),
);

/** A backup waits for its turn, with all it needs to be triggered later. */
export const VmAwaited = defineEvent('vm', 'VmAwaited', z.object({ ...asked, behind: BackupId }));

/**
 * The backup that has the turn has an outcome. The turn lasts until its run has also given everything back. The two come
 * by different ways and in any order; whichever is second ends the turn.
 */
export const VmBackupEnded = defineEvent(
  'vm',
  'VmBackupEnded',
  z.object({
    hostId: HostId,
    vmId: VmId,
    backupId: BackupId,
    outcome: z.enum(['completed', 'failed']),
    restorePoint: RestorePoint.nullable(),
  }),
);

/** The run of the backup that has the turn has given everything back. The turn lasts until its outcome is known, too. */
export const VmRunClosed = defineEvent(
  'vm',
  'VmRunClosed',
  z.object({ hostId: HostId, vmId: VmId, backupId: BackupId }),
);

/** The VM's turn ended. A completed backup leaves the restore point that the next one builds on. */
export const VmReleased = defineEvent(
  'vm',
  'VmReleased',
  z.object({
    hostId: HostId,
    vmId: VmId,
    backupId: BackupId,
    outcome: z.enum(['completed', 'failed', 'refused', 'cancelled']),
    restorePoint: RestorePoint.nullable(),
  }),
);

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
    definedAt: Instant,
  }),
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

export const PolicyDefined = defineEvent(
  'policy',
  'PolicyDefined',
  z.object({ policy: Policy, definedAt: Instant }),
);

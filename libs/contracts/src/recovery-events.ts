/** Owned by trigger. Stream `recovery-<recoveryId>`: one request to recover a restore point, and what became of it. */
import { z } from 'zod';
import { Origin } from './backup-events.ts';
import { defineEvent, unchanged } from './define-event.ts';
import { Policy, withPriority } from './policy.ts';
import { Priority } from './priority.ts';
import {
  BackupId,
  DiskId,
  HostId,
  Instant,
  InstantRecovery,
  Machine,
  RecoveryId,
  Refusal,
  RestorePoint,
  RunId,
  TransportMode,
  VmId,
} from './vocabulary.ts';

/** All that a recovery needs to start, now or later. */
export const RecoveryAsked = z.object({
  recoveryId: RecoveryId,
  /** What is recovered: the restore point of this backup, and which VM it was. */
  backupId: BackupId,
  source: z.object({ hostId: HostId, vmId: VmId }),
  restorePoint: RestorePoint,
  /** The VM to be: where, and its name there. */
  hostId: HostId,
  vmId: VmId,
  /** Of the restore point's disks, those that are recovered. */
  disks: z.array(DiskId).min(1),
  /** A mode here overrides the policy's. */
  mode: z.enum(['auto', ...TransportMode.options]),
  policy: Policy,
  /** The request's, or else the policy's. */
  priority: Priority,
  /** Over a VM of that name, and only when it is off. */
  replace: z.boolean(),
  start: z.boolean(),
  /** All that was written is read back and compared, instead of a sample. */
  verify: z.boolean(),
  /** Absent: the VM is whole before it is one. */
  instant: InstantRecovery.optional(),
  machine: Machine,
  origin: Origin,
  requestedAt: Instant,
});
export type RecoveryAsked = z.infer<typeof RecoveryAsked>;

/** The recovery starts now: nothing else runs for the VM that it makes. Version 2: `instant`; 3: `priority`. */
export const RecoveryTriggered = defineEvent('recovery', 'RecoveryTriggered', RecoveryAsked, [
  unchanged,
  withPriority,
]);

/** Accepted, but something else runs for that VM: it is triggered when that has ended. Version 2: `instant`; 3: `priority`. */
export const RecoveryQueued = defineEvent(
  'recovery',
  'RecoveryQueued',
  RecoveryAsked.extend({ behind: RunId }),
  [unchanged, withPriority],
);

/** The request will not be done. `request` is what was asked, as it came, cut at 16 KiB. */
export const RecoveryRefused = defineEvent(
  'recovery',
  'RecoveryRefused',
  z.object({
    recoveryId: RecoveryId,
    origin: Origin,
    refusal: Refusal,
    request: z.string(),
    refusedAt: Instant,
  }),
);

/** Before it started: it gives up its place in the line. */
export const RecoveryCancelled = defineEvent(
  'recovery',
  'RecoveryCancelled',
  z.object({
    recoveryId: RecoveryId,
    hostId: HostId,
    vmId: VmId,
    cancelledBy: z.string(),
    reason: z.string(),
  }),
);

const started = { recoveryId: RecoveryId, hostId: HostId, vmId: VmId };

/**
 * It has started, and is to end without a VM. Export, whose word the end of a recovery is, says what came first: RecoveryFailed with the
 * code `RecoveryCancelled`, or that the data is whole and will be a VM.
 */
export const RecoveryCancelOrdered = defineEvent(
  'recovery',
  'RecoveryCancelOrdered',
  z.object({ ...started, cancelledBy: z.string(), reason: z.string(), orderedAt: Instant }),
);

/** As BackupPaused: it keeps its place in the line, or the disks of the VM to be, with all that is written to them. */
export const RecoveryPaused = defineEvent(
  'recovery',
  'RecoveryPaused',
  z.object({
    ...started,
    number: z.int().positive(),
    pausedBy: z.string(),
    reason: z.string(),
    pausedAt: Instant,
  }),
);

/** The inverse of RecoveryPaused: it goes on from where it stood. */
export const RecoveryResumed = defineEvent(
  'recovery',
  'RecoveryResumed',
  z.object({
    ...started,
    number: z.int().positive(),
    resumedBy: z.string(),
    reason: z.string(),
    resumedAt: Instant,
  }),
);

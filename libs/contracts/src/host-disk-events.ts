/**
 * Owned by proxy-manager, in the stream `host-<hostId>`: what a run holds of disks at the host. A backup has frozen disks (a snapshot),
 * a recovery the empty disks of a VM to be (a target).
 */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import { namedByBackup, run } from './run-naming.ts';
import { BackupKind, Bytes, DiskId, ImageIdentity, Instant, VmId } from './vocabulary.ts';

/** Obligation opened: a snapshot may exist from now on. Closed by SnapshotReleased. */
export const SnapshotRequested = defineEvent('host', 'SnapshotRequested', z.object({ ...run, vmId: VmId }), [
  namedByBackup,
]);

export const SnapshotDisk = z.object({
  diskId: DiskId,
  sizeBytes: Bytes,
  identity: ImageIdentity,
  kind: BackupKind,
  /** Why the kind differs from the plan's, when what held at planning no longer held at the snapshot. */
  fallbackReason: z.string().nullable(),
  /** NBD URI, with export, of the host's own view of the frozen disk: where extents are asked for. */
  endpoint: z.string(),
  /** The metadata context that names the changed extents, for an incremental. */
  changedContext: z.string().nullable(),
  /** The checkpoint this snapshot starts, for the next incremental; null where the format has no change tracking. */
  checkpoint: z.string().nullable(),
});
export type SnapshotDisk = z.infer<typeof SnapshotDisk>;

/**
 * What the frozen disks are to who reads them: `filesystem` when the guest had its file systems frozen for the instant, `crash` when
 * they are as after a power cut. `reason` says what was done, or why not more.
 */
export const Consistency = z.object({ level: z.enum(['filesystem', 'crash']), reason: z.string() });
export type Consistency = z.infer<typeof Consistency>;

/** Version 2: `consistency`, absent where the host has no running guests. */
export const SnapshotTaken = defineEvent(
  'host',
  'SnapshotTaken',
  z.object({
    ...run,
    vmId: VmId,
    takenAt: Instant,
    pauseMilliseconds: z.number(),
    disks: z.array(SnapshotDisk),
    consistency: Consistency.optional(),
  }),
  [(stored) => stored, namedByBackup],
);

/** The snapshot and its server were lost (a crash of the host's process): what was read since may not be one instant. */
export const SnapshotLost = defineEvent('host', 'SnapshotLost', z.object({ ...run, reason: z.string() }), [
  namedByBackup,
]);

/** The inverse of SnapshotTaken: the disk runs on, and its change tracking is committed or put back. */
export const SnapshotReleased = defineEvent(
  'host',
  'SnapshotReleased',
  z.object({ ...run, vmId: VmId, checkpoints: z.enum(['committed', 'discarded']) }),
  [namedByBackup],
);

/** Obligation opened: disks of a VM to be may exist from now on. Closed by TargetKept or TargetDiscarded. */
export const TargetRequested = defineEvent('host', 'TargetRequested', z.object({ ...run, vmId: VmId }));

/** The disks are there, empty, and no VM yet. `endpoint`: NBD URI, with export, of the host's own writable view of the disk. */
export const TargetCreated = defineEvent(
  'host',
  'TargetCreated',
  z.object({
    ...run,
    vmId: VmId,
    disks: z.array(z.object({ diskId: DiskId, sizeBytes: Bytes, endpoint: z.string() })),
  }),
);

/** Nobody serves the disks any more (a crash of the host's process). What was flushed to them is still there. */
export const TargetLost = defineEvent('host', 'TargetLost', z.object({ ...run, reason: z.string() }));

/** The disks are a VM now, whole, at its name; `started`: and it runs. `notStarted`: it should, and why it does not. */
export const TargetKept = defineEvent(
  'host',
  'TargetKept',
  z.object({ ...run, vmId: VmId, started: z.boolean(), notStarted: z.string().nullable() }),
);

/** Nothing is left of the VM that was to be. */
export const TargetDiscarded = defineEvent('host', 'TargetDiscarded', z.object({ ...run, vmId: VmId }));

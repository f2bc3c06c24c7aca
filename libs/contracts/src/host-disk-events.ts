/**
 * Owned by proxy-manager, in the stream `host-<hostId>`: what a run holds of disks at the host. A backup has frozen disks (a snapshot),
 * a recovery the empty disks of a VM to be (a target).
 */
import { z } from 'zod';
import { Acceleration } from './acceleration.ts';
import { defineEvent, unchanged } from './define-event.ts';
import { namedByBackup, run } from './run-naming.ts';
import { BackupKind, Bytes, DiskId, ImageIdentity, Instant, Mounts, VmId } from './vocabulary.ts';

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
  /** Where its bytes lie: the mount point or the device; absent where the host cannot tell. */
  storage: z.string().optional(),
});
export type SnapshotDisk = z.infer<typeof SnapshotDisk>;

/**
 * What the frozen disks are to who reads them: `filesystem` when the guest had its file systems frozen for the instant, `crash` when
 * they are as after a power cut. `reason` says what was done, or why not more.
 */
export const Consistency = z.object({ level: z.enum(['filesystem', 'crash']), reason: z.string() });
export type Consistency = z.infer<typeof Consistency>;

/** Version 2: `consistency`, absent where the host has no running guests. Version 4: `storage` of each disk. */
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
  [(stored) => stored, namedByBackup, unchanged],
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

/**
 * Obligation opened: disks of a VM to be may exist from now on. Closed by TargetKept or TargetDiscarded; of an instant recovery, which has
 * `mounts` to fill them from, by TargetFilled, TargetLeft or TargetDiscarded. Version 2: `mounts`.
 */
export const TargetRequested = defineEvent(
  'host',
  'TargetRequested',
  z.object({ ...run, vmId: VmId, mounts: Mounts.optional() }),
  [unchanged],
);

/**
 * The disks are there, empty, and no VM yet. `endpoint`: NBD URI, with export, of the host's own writable view of the disk; of an instant
 * recovery the mount that the disk shows where nothing is written yet. Version 2: `storage`, as of a frozen disk.
 */
export const TargetCreated = defineEvent(
  'host',
  'TargetCreated',
  z.object({
    ...run,
    vmId: VmId,
    disks: z.array(
      z.object({
        diskId: DiskId,
        sizeBytes: Bytes,
        endpoint: z.string(),
        storage: z.string().optional(),
      }),
    ),
  }),
  [unchanged],
);

/** Nobody serves the disks any more (a crash of the host's process). What was flushed to them is still there. */
export const TargetLost = defineEvent('host', 'TargetLost', z.object({ ...run, reason: z.string() }));

/**
 * The disks are a VM now, whole, at its name; `started`: and it runs. `notStarted`: it should, and why it does not. The VM of an instant
 * recovery runs, and is not whole before TargetFilled. Version 2: `acceleration` of one that runs, where its host can say.
 */
export const TargetKept = defineEvent(
  'host',
  'TargetKept',
  z.object({
    ...run,
    vmId: VmId,
    started: z.boolean(),
    notStarted: z.string().nullable(),
    acceleration: Acceleration.optional(),
  }),
  [unchanged],
);

/** Nothing is left of the VM that was to be. */
export const TargetDiscarded = defineEvent('host', 'TargetDiscarded', z.object({ ...run, vmId: VmId }));

/** How much of the disks of a running VM is its own by now. All of it: what is left is to let go of the mount. */
export const FillProgressed = defineEvent(
  'host',
  'FillProgressed',
  z.object({ ...run, filledBytes: Bytes, totalBytes: Bytes }),
);

/** The VM has ended, or its disks could not be filled further. It is started again, and filled on. */
export const FillInterrupted = defineEvent(
  'host',
  'FillInterrupted',
  z.object({ ...run, reason: z.string() }),
);

/** The running VM stands on its own disks alone: whole, and nothing of the mount is left in it. */
export const TargetFilled = defineEvent(
  'host',
  'TargetFilled',
  z.object({ ...run, vmId: VmId, filledBytes: Bytes }),
);

/**
 * A VM that could not be filled has ended. Somebody may have worked in it, so its disks are left where they are, with what was written to
 * them and what was filled; nobody cares for them any more.
 */
export const TargetLeft = defineEvent('host', 'TargetLeft', z.object({ ...run, vmId: VmId }));

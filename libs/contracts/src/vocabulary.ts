/**
 * The words that events, requests and answers share. Units: every quantity of data is in bytes, every instant is an
 * ISO 8601 string in UTC, every duration says its unit in its name.
 */
import { z } from 'zod';

/** Names of hosts, VMs, disks and policies are typed by people: they appear in stream names, subjects and paths. */
export const Name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
    'must be 1 to 63 letters, digits, "-" or "_", starting with a letter or digit',
  );

export const HostId = Name;
export type HostId = string;
export const VmId = Name;
export type VmId = string;
export const DiskId = Name;
export type DiskId = string;
export const PolicyId = Name;
export type PolicyId = string;

/** Derived (uuid v5) from the request that asked for it, so the same request names the same backup. */
export const BackupId = z.uuid();
export type BackupId = string;
/** Derived likewise from the request for a recovery. */
export const RecoveryId = z.uuid();
export type RecoveryId = string;
/** What a host's pool works for: the id of a backup or of a recovery. */
export const RunId = z.uuid();
export type RunId = string;
/** `<runId>.<disk>.<index>`: readable, and unique because a child job never crosses a disk. */
export const ChildJobId = z.string().min(1);
export type ChildJobId = string;
export const ProxyId = z.string().min(1);
export type ProxyId = string;
/** As the list of dead letters has it. */
export const DeadLetterId = z.string().regex(/^[1-9]\d{0,17}$/, 'must be the number of a dead letter');
export type DeadLetterId = string;

export const Bytes = z.int().nonnegative();
export const Instant = z.iso.datetime();
/** SHA-256, lower-case hex. */
export const Digest = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hex');
export type Digest = string;

export const Refusal = z.object({
  code: z.string().min(1),
  message: z.string().min(1),
  wayOut: z.string().optional(),
});

/** How the data travels: through proxy VMs, or from the host's own export. */
export const TransportMode = z.enum(['proxy-vm', 'direct-to-host']);
export type TransportMode = z.infer<typeof TransportMode>;

/** What is moved of a disk: all its data, or what changed since the parent restore point. */
export const BackupKind = z.enum(['full', 'incremental']);
export type BackupKind = z.infer<typeof BackupKind>;

/** What the pool of a host does for a run: reads frozen disks, or writes the disks of a VM to be. */
export const Purpose = z.enum(['backup', 'recovery']);
export type Purpose = z.infer<typeof Purpose>;

/** The machine that a recovered VM is given where its host defines machines: a restore point holds disks alone. */
export const Machine = z.object({
  memoryMiB: z
    .int()
    .min(64)
    .max(16 * 1024 * 1024)
    .default(1024),
  cpus: z.int().min(1).max(1024).default(1),
});
export type Machine = z.infer<typeof Machine>;

/**
 * An instant recovery: the VM starts at once from a mount of the restore point, and its disks are filled behind it. `null`: as fast as it
 * goes.
 */
export const InstantRecovery = z.object({ fillBytesPerSecond: z.int().positive().nullable() });
export type InstantRecovery = z.infer<typeof InstantRecovery>;

/** NBD URI, with export, of each disk of a restore point as it is served. */
export const Mounts = z.record(DiskId, z.string());
export type Mounts = z.infer<typeof Mounts>;

/**
 * What an image was when it was last seen. Two images with different identities are different disks, whatever their
 * names: a checkpoint bound to another identity is worth nothing.
 */
export const ImageIdentity = z.object({ format: z.string(), inode: z.string(), sizeBytes: Bytes });
export type ImageIdentity = z.infer<typeof ImageIdentity>;

/** A restore point as the next backup of the same VM needs to know it. `checkpoint` is null where no change tracking stands. */
export const RestorePoint = z.object({
  backupId: BackupId,
  manifestDigest: Digest,
  takenAt: Instant,
  disks: z.array(
    z.object({
      diskId: DiskId,
      sizeBytes: Bytes,
      identity: ImageIdentity,
      checkpoint: z.string().nullable(),
    }),
  ),
});
export type RestorePoint = z.infer<typeof RestorePoint>;

/** The 4 MiB grid that chunks, child jobs and densities stand on (docs/format.md). */
export const CHUNK_BYTES = 4 * 1024 * 1024;

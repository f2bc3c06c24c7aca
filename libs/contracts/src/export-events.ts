/**
 * Owned by export. Stream `exportJob-<childJobId>`: one data stream, a portion of one disk on its way out of the repository. Stream
 * `export-<recoveryId>`: how the whole recovery ended.
 */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import {
  BackupId,
  Bytes,
  ChildJobId,
  Digest,
  DiskId,
  HostId,
  Instant,
  ProxyId,
  RecoveryId,
  Refusal,
  TransportMode,
  VmId,
} from './vocabulary.ts';

const recovery = { recoveryId: RecoveryId, hostId: HostId, vmId: VmId };
const job = { ...recovery, childJobId: ChildJobId, diskId: DiskId };
const held = {
  leaseId: z.string(),
  fence: z.int().positive(),
  attempt: z.int().positive(),
  proxyId: ProxyId,
};

export const ExportJobStarted = defineEvent(
  'exportJob',
  'ExportJobStarted',
  z.object({
    ...job,
    ...held,
    ports: z.array(z.int().nonnegative()),
    offset: Bytes,
    length: Bytes,
    /** What earlier attempts had written and flushed already, and this one will not write again. */
    resumedBytes: Bytes,
    startedAt: Instant,
  }),
);

/** A piece of the restore point, its digest checked, is on the disk: it was written and flushed before this was appended. */
export const ChunkExported = defineEvent(
  'exportJob',
  'ChunkExported',
  z.object({ ...job, leaseId: z.string(), offset: Bytes, length: Bytes, digest: Digest }),
);

export const ExportJobCompleted = defineEvent(
  'exportJob',
  'ExportJobCompleted',
  z.object({
    ...job,
    ...held,
    /** Of this attempt alone. */
    writtenBytes: Bytes,
    resumedBytes: Bytes,
    /** Ranges that are zero, which stay holes. */
    zeroBytes: Bytes,
    /** Read back through the same ports and compared with the restore point's digests. */
    verifiedBytes: Bytes,
    chunks: z.int().nonnegative(),
    milliseconds: z.number().nonnegative(),
    completedAt: Instant,
  }),
);

/** The attempt stopped before its end. What it had written and flushed stays written. */
export const ExportJobInterrupted = defineEvent(
  'exportJob',
  'ExportJobInterrupted',
  z.object({ ...job, ...held, reason: z.string(), retryable: z.boolean() }),
);

export const RecoveryTotals = z.object({
  diskBytes: Bytes,
  writtenBytes: Bytes,
  zeroBytes: Bytes,
  verifiedBytes: Bytes,
  chunks: z.int().nonnegative(),
});
export type RecoveryTotals = z.infer<typeof RecoveryTotals>;

/** All of every disk is written, flushed and compared as asked. The host makes a VM of the disks from here on. */
export const DataExported = defineEvent(
  'export',
  'DataExported',
  z.object({ ...recovery, totals: RecoveryTotals, exportedAt: Instant }),
);

/** The VM is there, whole, at its name. */
export const RecoveryCompleted = defineEvent(
  'export',
  'RecoveryCompleted',
  z.object({
    ...recovery,
    backupId: BackupId,
    mode: TransportMode,
    totals: RecoveryTotals,
    started: z.boolean(),
    /** It should run, and why it does not. */
    notStarted: z.string().nullable(),
    completedAt: Instant,
  }),
);

/** There is no VM. `alternative`: where the restore point is damaged, the newest older one of the same VM that is whole. */
export const RecoveryFailed = defineEvent(
  'export',
  'RecoveryFailed',
  z.object({
    ...recovery,
    refusal: Refusal,
    alternative: z.object({ backupId: BackupId, takenAt: Instant }).nullable(),
    failedAt: Instant,
  }),
);

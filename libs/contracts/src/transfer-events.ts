/**
 * Owned by ingest. Stream `childJob-<childJobId>`: one portion of one disk on its way into the repository. Stream
 * `transfer-<backupId>`: how the whole backup ended.
 */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import {
  BackupId,
  BackupKind,
  Bytes,
  ChildJobId,
  Digest,
  DiskId,
  HostId,
  Instant,
  ProxyId,
  Refusal,
  RestorePoint,
  TransportMode,
  VmId,
} from './vocabulary.ts';

const job = { backupId: BackupId, hostId: HostId, vmId: VmId, childJobId: ChildJobId, diskId: DiskId };
const held = {
  leaseId: z.string(),
  fence: z.int().positive(),
  attempt: z.int().positive(),
  proxyId: ProxyId,
};

export const ChildJobStarted = defineEvent(
  'childJob',
  'ChildJobStarted',
  z.object({
    ...job,
    ...held,
    ports: z.array(z.int().nonnegative()),
    offset: Bytes,
    length: Bytes,
    kind: BackupKind,
    /** Why a full where the lease said incremental, or why an incremental reads more than has changed; null where it is as leased. */
    kindReason: z.string().nullable(),
    /** What earlier attempts had received already and this one will not read again. */
    resumedBytes: Bytes,
    startedAt: Instant,
  }),
);

/**
 * A piece of the disk is durably in the repository: the chunk file and its folder were synced before this was appended.
 * `digest` null: the piece is all zero, and nothing is stored for it.
 */
export const ChunkReceived = defineEvent(
  'childJob',
  'ChunkReceived',
  z.object({
    ...job,
    leaseId: z.string(),
    offset: Bytes,
    length: Bytes,
    digest: Digest.nullable(),
    /** Bytes read from the source for this piece: below `length` where the source said that parts are zero. */
    readBytes: Bytes,
    /** Bytes that the repository grew by: 0 when the chunk was there already. */
    storedBytes: Bytes,
  }),
);

export const ChildJobCompleted = defineEvent(
  'childJob',
  'ChildJobCompleted',
  z.object({
    ...job,
    ...held,
    /** Of this attempt alone. */
    readBytes: Bytes,
    resumedBytes: Bytes,
    chunks: z.int().nonnegative(),
    storedBytes: Bytes,
    zeroBytes: Bytes,
    milliseconds: z.number().nonnegative(),
    completedAt: Instant,
  }),
);

/** The attempt stopped before its end. What it received stays received. */
export const ChildJobInterrupted = defineEvent(
  'childJob',
  'ChildJobInterrupted',
  z.object({ ...job, ...held, reason: z.string(), retryable: z.boolean() }),
);

export const BackupTotals = z.object({
  diskBytes: Bytes,
  readBytes: Bytes,
  storedBytes: Bytes,
  zeroBytes: Bytes,
  chunks: z.int().nonnegative(),
  newChunks: z.int().nonnegative(),
});
export type BackupTotals = z.infer<typeof BackupTotals>;

/** The manifest is durable: from now on this is a restore point. */
export const BackupCompleted = defineEvent(
  'transfer',
  'BackupCompleted',
  z.object({
    backupId: BackupId,
    hostId: HostId,
    vmId: VmId,
    kind: BackupKind,
    mode: TransportMode,
    totals: BackupTotals,
    restorePoint: RestorePoint,
    completedAt: Instant,
  }),
);

export const BackupFailed = defineEvent(
  'transfer',
  'BackupFailed',
  z.object({ backupId: BackupId, hostId: HostId, vmId: VmId, refusal: Refusal, failedAt: Instant }),
);

/**
 * Makes the restore point once all child jobs are in: overlays what was received on the parent's map, writes the manifest,
 * and only then says BackupCompleted. Killed at any line it can be done again: the manifest's content follows from the
 * log alone, and storing the same manifest twice is success.
 */
import type { BackupTotals, Event, EventData, EventMetadata, Recorded } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { describeError, Fault, isPermanent } from '@backhaul/kernel';
import { overlay, type Repository, type Segment, type Segments } from '@backhaul/repository';
import { childJobStream } from './child-job.ts';
import { end, eventsOf, hasEnded, planOf } from './transfer.ts';

type Plan = EventData<'ProxiesCalculated'>;
type SnapshotDisk = EventData<'SnapshotTaken'>['disks'][number];

interface Parts {
  readonly store: EventStore;
  readonly repository: Repository;
}

/** What no retry can mend ends the backup with the reason; anything else is thrown, to be tried again. */
export async function completeBackup(parts: Parts, cause: Recorded<'ChildJobCompleted'>): Promise<void> {
  const { backupId, hostId, vmId } = cause.data;
  const metadata: EventMetadata = { correlation: backupId, causation: cause.eventId, actor: 'ingest' };
  try {
    await makeRestorePoint(parts, backupId, metadata);
  } catch (error) {
    if (!isPermanent(error)) throw error;
    const message = `The restore point of vm ${vmId} could not be made: ${describeError(error)}.`;
    const refusal = { code: 'RestorePointNotMade', message, wayOut: 'Start a full backup of the VM.' };
    const failedAt = new Date().toISOString();
    await end(
      parts.store,
      { type: 'BackupFailed', data: { backupId, hostId, vmId, refusal, failedAt } },
      metadata,
    );
  }
}

async function makeRestorePoint(parts: Parts, backupId: string, metadata: EventMetadata): Promise<void> {
  const { store, repository } = parts;
  if (await hasEnded(store, backupId)) return;
  const plan = await planOf(store, backupId);
  if (!(await allCompleted(store, plan))) return;

  const snapshot = await lastSnapshot(store, backupId);
  const totals = { diskBytes: 0, readBytes: 0, storedBytes: 0, zeroBytes: 0, chunks: 0, newChunks: 0 };
  const disks = [];
  const kinds = new Set<string>();
  for (const disk of snapshot.disks) {
    const { kind, segments } = await segmentsOf(parts, plan, disk, totals);
    kinds.add(kind);
    totals.diskBytes += disk.sizeBytes;
    disks.push({ diskId: disk.diskId, sizeBytes: disk.sizeBytes, segments });
  }
  const kind = kinds.has('incremental') ? 'incremental' : 'full';
  const { digest } = await repository.putManifest({
    backupId,
    hostId: plan.hostId,
    vmId: plan.vmId,
    kind,
    takenAt: snapshot.takenAt,
    parentBackupId: kind === 'incremental' ? (plan.parent?.backupId ?? null) : null,
    disks,
  });
  await end(store, completedEvent(plan, snapshot, { kind, digest, totals }), metadata);
}

async function allCompleted(store: EventStore, plan: Plan): Promise<boolean> {
  const open = new Set(plan.childJobs.map(({ childJobId }) => childJobId));
  for await (const event of eventsOf(store, plan.backupId, 'ChildJobCompleted'))
    open.delete(event.data.childJobId);
  return open.size === 0;
}

async function lastSnapshot(store: EventStore, backupId: string): Promise<EventData<'SnapshotTaken'>> {
  let last: EventData<'SnapshotTaken'> | undefined;
  for await (const event of eventsOf(store, backupId, 'SnapshotTaken')) last = event.data;
  if (last === undefined)
    throw new Fault(`Backup ${backupId} has no snapshot in the log`, { permanent: true });
  return last;
}

/** The complete map of one disk, and how it was backed up in truth, which the child jobs decided. */
async function segmentsOf(
  { store, repository }: Parts,
  plan: Plan,
  disk: SnapshotDisk,
  totals: BackupTotals,
): Promise<{ kind: 'full' | 'incremental'; segments: Segments }> {
  const jobs = plan.childJobs.filter((job) => job.diskId === disk.diskId);
  const received = [];
  const kinds = new Set<'full' | 'incremental'>();
  for (const job of jobs) {
    const { kind, pieces } = await piecesOf(store, job.childJobId, totals);
    kinds.add(kind);
    received.push(pieces);
  }
  const [kind] = kinds;
  if (kinds.size !== 1 || kind === undefined) {
    throw new Fault(
      `The child jobs of disk ${disk.diskId} were read in different ways (${[...kinds].join(', ')})`,
      { permanent: true },
    );
  }
  const parent = kind === 'incremental' ? await parentSegments(repository, plan, disk.diskId) : [];
  return { kind, segments: counted(overlay(parent, received.flat(), disk.sizeBytes), totals) };
}

/**
 * The pieces of a job, sorted; those before a change of kind do not count (see child-job.ts). One job's worth is held in memory:
 * a few thousand at the default size of a child job.
 */
async function piecesOf(
  store: EventStore,
  childJobId: string,
  totals: BackupTotals,
): Promise<{ kind: 'full' | 'incremental'; pieces: Segment[] }> {
  let kind: 'full' | 'incremental' | undefined;
  let pieces: EventData<'ChunkReceived'>[] = [];
  for await (const event of store.readStream(childJobStream(childJobId))) {
    if (event.type === 'ChildJobStarted') {
      if (kind !== event.data.kind) pieces = [];
      kind = event.data.kind;
    } else if (event.type === 'ChunkReceived') pieces.push(event.data);
  }
  if (kind === undefined)
    throw new Fault(`Child job ${childJobId} has completed without a start`, { permanent: true });
  for (const piece of pieces) {
    totals.readBytes += piece.readBytes;
    totals.storedBytes += piece.storedBytes;
    if (piece.digest !== null) totals.chunks += 1;
    if (piece.storedBytes > 0) totals.newChunks += 1;
  }
  pieces.sort((a, b) => a.offset - b.offset);
  return {
    kind,
    pieces: pieces.map(({ offset, length, digest }) => ({ offset, length, digest, chunkOffset: 0 })),
  };
}

async function parentSegments(repository: Repository, plan: Plan, diskId: string): Promise<Segments> {
  const parent = plan.parent === null ? undefined : await repository.readManifest(plan.parent.backupId);
  const disk = parent?.manifest.disks.find((candidate) => candidate.diskId === diskId);
  if (disk === undefined) {
    throw new Fault(
      `The parent restore point ${plan.parent?.backupId ?? ''} has no disk ${diskId} in the repository`,
      { permanent: true },
    );
  }
  return repository.readSegments(disk);
}

/** Counts the zeros of the restore point as its map passes by. */
async function* counted(segments: AsyncIterable<Segment>, totals: BackupTotals): AsyncGenerator<Segment> {
  for await (const segment of segments) {
    if (segment.digest === null) totals.zeroBytes += segment.length;
    yield segment;
  }
}

const completedEvent = (
  plan: Plan,
  snapshot: EventData<'SnapshotTaken'>,
  made: { kind: 'full' | 'incremental'; digest: string; totals: BackupTotals },
): Event<'BackupCompleted'> => ({
  type: 'BackupCompleted',
  data: {
    backupId: plan.backupId,
    hostId: plan.hostId,
    vmId: plan.vmId,
    kind: made.kind,
    mode: plan.mode,
    totals: made.totals,
    restorePoint: {
      backupId: plan.backupId,
      manifestDigest: made.digest,
      takenAt: snapshot.takenAt,
      disks: snapshot.disks.map(({ diskId, sizeBytes, identity, checkpoint }) => ({
        diskId,
        sizeBytes,
        identity,
        checkpoint,
      })),
    },
    completedAt: new Date().toISOString(),
  },
});

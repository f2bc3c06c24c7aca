/**
 * Makes the restore point once all child jobs are in: overlays what was received on the parent's map, writes the manifest,
 * and only then says BackupCompleted. Killed at any line it can be done again: the manifest's content follows from the
 * log alone, and storing the same manifest twice is success.
 */
import type { BackupTotals, Event, EventData, EventMetadata, Recorded } from '@backhaul/contracts';
import { type EventStore, eventsOfRun } from '@backhaul/event-store';
import { describeError, Fault, hasCode } from '@backhaul/kernel';
import { overlay, type Repository, type Segment, type Segments } from '@backhaul/repository';
import { requireAdopted } from './adopt-repository.ts';
import type { OpenJobs } from './open-jobs.ts';
import { type Kind, receivedSegments } from './received-segments.ts';
import { RepositoryGivenUp, type RepositoryPatience, refusalOf } from './repository-patience.ts';
import { end, hasEnded, planOf } from './transfer.ts';

type Plan = EventData<'ProxiesCalculated'>;
type SnapshotDisk = EventData<'SnapshotTaken'>['disks'][number];

export interface Parts {
  readonly store: EventStore;
  readonly openJobs: OpenJobs;
  readonly repository: Repository;
  readonly patience: RepositoryPatience;
}

/** Throws what went wrong; what can be tried again and what cannot is told apart by those who call. The repository is waited for. */
export async function completeBackup(
  parts: Parts,
  cause: Recorded<'ChildJobCompleted'>,
  signal: AbortSignal,
): Promise<void> {
  const work = async (): Promise<void> => {
    try {
      await makeRestorePoint(parts, cause, metadataOf(cause));
    } catch (error) {
      // What seems to be damaged or lost may be a repository that is not there.
      await parts.repository.requireThere();
      throw error;
    }
  };
  await parts.patience.through({ what: `restore point of backup ${cause.data.backupId}`, work }, signal);
}

/** The restore point will not be tried again: the backup ends with the reason, so that nobody waits for it. */
export async function giveUpBackup(
  { store }: Parts,
  cause: Recorded<'ChildJobCompleted'>,
  error: unknown,
): Promise<void> {
  const { backupId, hostId, vmId } = cause.data;
  const refusal =
    error instanceof RepositoryGivenUp
      ? refusalOf(error, vmId)
      : {
          code: 'RestorePointNotMade',
          message: `The restore point of vm ${vmId} could not be made: ${describeError(error)}.`,
          wayOut: hasCode(error, 'ChunkDamaged')
            ? 'Start the backup again: what is damaged is read from the VM and stored anew.'
            : 'Mend the cause named, then start a full backup of the VM.',
        };
  const failedAt = new Date().toISOString();
  await end(
    store,
    { type: 'BackupFailed', data: { backupId, hostId, vmId, refusal, failedAt } },
    metadataOf(cause),
  );
}

const metadataOf = (cause: Recorded<'ChildJobCompleted'>): EventMetadata => ({
  correlation: cause.data.backupId,
  causation: cause.eventId,
  actor: 'ingest',
});

async function makeRestorePoint(
  parts: Parts,
  cause: Recorded<'ChildJobCompleted'>,
  metadata: EventMetadata,
): Promise<void> {
  const { store, repository, openJobs } = parts;
  const { backupId } = cause.data;
  if (await hasEnded(store, backupId)) return;
  if (!(await openJobs.allCompleted(backupId, cause.position))) return;

  await requireAdopted(store, repository);
  const plan = await planOf(store, backupId);
  const kindsOfJobs = await kindsOf(store, backupId, cause.position);
  const snapshot = await theSnapshot(store, backupId, cause.position);
  const totals = { diskBytes: 0, readBytes: 0, storedBytes: 0, zeroBytes: 0, chunks: 0, newChunks: 0 };
  const disks = [];
  const kinds = new Set<string>();
  const damaged = await repository.damagedChunks();
  for (const disk of snapshot.disks) {
    const { kind, segments } = await segmentsOf(parts, plan, disk, kindsOfJobs, totals);
    kinds.add(kind);
    totals.diskBytes += disk.sizeBytes;
    const sound = undamaged(segments, disk.diskId, damaged);
    disks.push({ diskId: disk.diskId, sizeBytes: disk.sizeBytes, segments: sound });
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
  openJobs.forget(backupId);
}

/** How each child job was read in the end. */
async function kindsOf(store: EventStore, backupId: string, upTo: number): Promise<Map<string, Kind>> {
  const kinds = new Map<string, Kind>();
  for await (const { data } of eventsOfRun(store, backupId, 'ChildJobStarted', upTo))
    kinds.set(data.childJobId, data.kind);
  return kinds;
}

/** Taken once, or served again of the same instant: two instants would make a restore point that never was. */
async function theSnapshot(
  store: EventStore,
  backupId: string,
  upTo: number,
): Promise<EventData<'SnapshotTaken'>> {
  let last: EventData<'SnapshotTaken'> | undefined;
  for await (const { data } of eventsOfRun(store, backupId, 'SnapshotTaken', upTo)) {
    if (last !== undefined && last.takenAt !== data.takenAt) {
      throw new Fault(
        `Backup ${backupId} has snapshots of two instants, ${last.takenAt} and ${data.takenAt}`,
        {
          permanent: true,
        },
      );
    }
    last = data;
  }
  if (last === undefined)
    throw new Fault(`Backup ${backupId} has no snapshot in the log`, { permanent: true });
  return last;
}

/** The complete map of one disk, and how it was backed up in truth, which the child jobs decided. Nothing of it is read before it is asked for. */
async function segmentsOf(
  parts: Parts,
  plan: Plan,
  disk: SnapshotDisk,
  kindsOfJobs: ReadonlyMap<string, Kind>,
  totals: BackupTotals,
): Promise<{ kind: Kind; segments: Segments }> {
  const jobs = plan.childJobs.filter((job) => job.diskId === disk.diskId);
  const kinds = new Set(jobs.map(({ childJobId }) => kindsOfJobs.get(childJobId)));
  const [kind] = kinds;
  if (kinds.size !== 1 || kind === undefined) {
    throw new Fault(
      `The child jobs of disk ${disk.diskId} were read in different ways (${[...kinds].join(', ')})`,
      { permanent: true },
    );
  }
  const parent = kind === 'incremental' ? await parentSegments(parts.repository, plan, disk.diskId) : [];
  const received = receivedSegments(parts, { diskId: disk.diskId, kind, jobs }, totals);
  return { kind, segments: counted(overlay(parent, received, disk.sizeBytes), totals) };
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

/** What was found to be damaged since it was received, or since it was decided what to read again, is in no new restore point. */
async function* undamaged(
  segments: Segments,
  diskId: string,
  damaged: ReadonlySet<string>,
): AsyncGenerator<Segment> {
  for await (const segment of segments) {
    if (segment.digest !== null && damaged.has(segment.digest)) {
      const { offset, digest } = segment;
      throw new Fault(
        `Chunk ${digest}, at offset ${offset} of disk ${diskId}, was found to be damaged while the backup ran`,
        { permanent: true, code: 'ChunkDamaged' },
      );
    }
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

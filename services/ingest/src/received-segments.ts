/**
 * What child jobs received of one disk, as the segments that its map is made of. One child job at a time is held, and no more, however
 * large the disk and however scattered its changes: 13 million pieces of 64 KiB are 800 GiB of an 8 TiB disk.
 */
import type { BackupTotals, EventData } from '@backhaul/contracts';
import type { StreamReader } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import type { Repository, Segment } from '@backhaul/repository';
import { childJobStream } from './child-job.ts';

export type Kind = 'full' | 'incremental';

export interface ReceivedParts {
  readonly store: Pick<StreamReader, 'readStream'>;
  readonly repository: Pick<Repository, 'location' | 'repositoryId' | 'firstMissingChunk'>;
}

type Job = Pick<EventData<'ProxiesCalculated'>['childJobs'][number], 'childJobId' | 'offset'>;
type Piece = Pick<EventData<'ChunkReceived'>, 'offset' | 'length' | 'digest' | 'readBytes' | 'storedBytes'>;

/** In the order of the disk, counted into `totals` as they pass. `kind` is how all of the jobs were read in the end. */
export async function* receivedSegments(
  { store, repository }: ReceivedParts,
  disk: { readonly diskId: string; readonly kind: Kind; readonly jobs: readonly Job[] },
  totals: BackupTotals,
): AsyncGenerator<Segment> {
  // Portions do not overlap, and no piece lies outside of its portion: jobs in order give pieces in order.
  for (const { childJobId } of disk.jobs.toSorted((a, b) => a.offset - b.offset)) {
    const pieces = await piecesOf(store, childJobId, disk.kind);
    await requireStored(repository, disk.diskId, pieces);
    for (const { offset, length, digest, readBytes, storedBytes } of pieces) {
      totals.readBytes += readBytes;
      totals.storedBytes += storedBytes;
      if (digest !== null) totals.chunks += 1;
      if (storedBytes > 0) totals.newChunks += 1;
      yield { offset, length, digest, chunkOffset: 0 };
    }
  }
}

/** The pieces of a job, sorted; those before a change of kind do not count (see child-job.ts). */
async function piecesOf(store: ReceivedParts['store'], childJobId: string, wanted: Kind): Promise<Piece[]> {
  let kind: Kind | undefined;
  let pieces: Piece[] = [];
  for await (const event of store.readStream(childJobStream(childJobId))) {
    if (event.type === 'ChildJobStarted') {
      if (kind !== event.data.kind) pieces = [];
      kind = event.data.kind;
    } else if (event.type === 'ChunkReceived') {
      const { offset, length, digest, readBytes, storedBytes } = event.data;
      pieces.push({ offset, length, digest, readBytes, storedBytes });
    }
  }
  if (kind !== wanted) {
    throw new Fault(`Child job ${childJobId} was read as ${kind ?? 'nothing'}, and its disk as ${wanted}`, {
      permanent: true,
    });
  }
  return pieces.sort((a, b) => a.offset - b.offset);
}

/**
 * Each piece was put into the repository before it was said to be received. That it is in the one that gets the manifest is looked up all the
 * same: a restore point that names a chunk that is not there would hand the hole on to every incremental after it (docs/adr/0022).
 */
async function requireStored(
  repository: ReceivedParts['repository'],
  diskId: string,
  pieces: readonly Piece[],
): Promise<void> {
  const digests = pieces.flatMap(({ digest }) => digest ?? []);
  const missing = await repository.firstMissingChunk(digests);
  if (missing === undefined) return;
  const offset = pieces.find(({ digest }) => digest === missing)?.offset;
  throw new Fault(
    `Chunk ${missing}, received for offset ${offset} of disk ${diskId}, is not in repository ${repository.repositoryId} in ${repository.location}`,
    { permanent: true, code: 'ChunkMissing' },
  );
}

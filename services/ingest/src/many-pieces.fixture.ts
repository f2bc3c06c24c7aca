/**
 * Writes the restore point of an incremental of a disk of 4 TiB, of which pieces of 64 KiB have changed all over, as a process of its own,
 * so that its memory can be measured. Argument: the repository's folder. Prints one line of JSON.
 */
import type { EventData } from '@backhaul/contracts';
import { derivedId, GiB, KiB, TiB } from '@backhaul/kernel';
import { openRepository, overlay } from '@backhaul/repository';
import { type ReceivedParts, receivedSegments } from './received-segments.ts';

const [SIZE, JOBS, PIECES] = [4 * TiB, 64, 3_200];
const PORTION = SIZE / JOBS;
const STEP = (6 * GiB) / 1024;
const backupId = derivedId('many pieces');
const of = { backupId, hostId: 'lab', vmId: 'web', diskId: 'vda' };

/** A child job's stream, said piece by piece, in the order that several lanes leave. */
async function* story(childJobId: string, offset: number) {
  yield { type: 'ChildJobStarted', data: { ...of, childJobId, kind: 'incremental' } };
  for (let n = 0; n < PIECES; n += 1) {
    const data: EventData<'ChunkReceived'> = {
      ...{ ...of, childJobId, leaseId: 'lease-1', offset: offset + (n ^ 1) * STEP, length: 64 * KiB },
      digest: ((offset / PORTION) * PIECES + n).toString(16).padStart(64, '0'),
      ...{ readBytes: 64 * KiB, storedBytes: 64 * KiB },
    };
    yield { type: 'ChunkReceived', data };
  }
}
const jobs = Array.from({ length: JOBS }, (_, n) => ({
  childJobId: `${backupId}.vda.${n}`,
  offset: n * PORTION,
}));
const store = {
  readStream(stream: string) {
    const childJobId = stream.slice('childJob-'.length);
    return story(childJobId, Number(childJobId.split('.').at(-1)) * PORTION);
  },
} as unknown as ReceivedParts['store'];

const repository = await openRepository({ location: process.argv[2] ?? '', workers: 1 });
const { location, repositoryId } = repository;
// The chunks themselves are not what is measured.
const parts = { store, repository: { location, repositoryId, firstMissingChunk: async () => undefined } };
const totals = { diskBytes: SIZE, readBytes: 0, storedBytes: 0, zeroBytes: 0, chunks: 0, newChunks: 0 };
// Given in another order than the disk's, as a plan may have them.
const received = receivedSegments(
  parts,
  { diskId: 'vda', kind: 'incremental', jobs: jobs.toReversed() },
  totals,
);
await repository.putManifest({
  ...{ backupId, hostId: 'lab', vmId: 'web', kind: 'incremental', parentBackupId: null },
  takenAt: '2026-01-01T00:00:00Z',
  disks: [{ diskId: 'vda', sizeBytes: SIZE, segments: overlay([], received, SIZE) }],
});
await repository.close();
const maxRssMebibytes = process.resourceUsage().maxRSS / 1024;
console.log(JSON.stringify({ chunks: totals.chunks, readBytes: totals.readBytes, maxRssMebibytes }));

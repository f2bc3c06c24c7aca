/**
 * Writes and reads the restore points of a disk of 8 TiB, a quarter of it data, and of its incremental, as a process of its own,
 * so that its memory can be measured; and looks at it here and there. Argument: the repository's folder. Prints one line of JSON.
 */
import { MiB, TiB } from '@backhaul/kernel';
import { openRepository } from '../open-repository.ts';
import { overlay } from '../overlay.ts';
import type { Manifest, Segment } from '../repository.ts';
import { sampleBackupId } from './sample-backup-id.ts';

const SIZE = 8 * TiB;
const SLOT = 4 * MiB;

const digest = (n: number): string => n.toString(16).padStart(64, '0');
function* everyFourthSlot(): Generator<Segment> {
  for (let n = 0; n * SLOT < SIZE; n += 4) {
    yield { offset: n * SLOT, length: SLOT, digest: digest(n), chunkOffset: 0 };
  }
}
/** 64 KiB changed in every 100th slot, where there was data. */
function* changes(): Generator<Segment> {
  for (let n = 0; n * SLOT < SIZE; n += 100) {
    yield { offset: n * SLOT + MiB, length: 65_536, digest: digest(n + 0x1000_0000), chunkOffset: 0 };
  }
}

const repository = await openRepository({ location: process.argv[2] ?? '' });
const put = async (
  backup: number,
  segments: AsyncIterable<Segment> | Iterable<Segment>,
): Promise<Manifest> => {
  const { manifest } = await repository.putManifest({
    ...{ backupId: sampleBackupId(backup), hostId: 'host', vmId: 'vm', kind: 'full', parentBackupId: null },
    ...{ takenAt: '2025-01-01T00:00:00Z', disks: [{ diskId: 'vda', sizeBytes: SIZE, segments }] },
  });
  return manifest;
};
const diskOf = (manifest: Manifest) => {
  const disk = manifest.disks[0];
  if (disk === undefined) throw new Error('A disk was put');
  return disk;
};

const full = await put(1, overlay([], everyFourthSlot(), SIZE));
const incremental = await put(2, overlay(repository.readSegments(diskOf(full)), changes(), SIZE));
const sparse = await put(3, overlay([], [], SIZE));
let segments = 0;
for await (const _ of repository.readSegments(diskOf(incremental))) segments += 1;
let sparseSegments = 0;
for await (const _ of repository.readSegments(diskOf(sparse))) sparseSegments += 1;
// Looked at here and there, as a mount does.
const begun = performance.now();
const index = await repository.indexSegments(diskOf(incremental));
const indexMilliseconds = performance.now() - begun;
const looked: (Segment | undefined)[] = [];
for (let n = 0; n < 1000; n += 1) {
  // In the data of every fourth slot, all over the disk.
  const slot = ((n * 7919) % (SIZE / SLOT / 4)) * 4;
  looked.push((await index.find(slot * SLOT + 3 * MiB, 4096, 10))[0]);
}
const found = looked.filter(
  (segment) =>
    segment?.chunkOffset === 3 * MiB && segment.digest === digest(Math.floor(segment.offset / SLOT)),
).length;
await repository.close();
const maxRssMebibytes = process.resourceUsage().maxRSS / 1024;
console.log(JSON.stringify({ segments, sparseSegments, indexMilliseconds, found, maxRssMebibytes }));

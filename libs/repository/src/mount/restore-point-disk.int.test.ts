import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, KiB, MiB } from '@backhaul/kernel';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chunkName, mapName } from '../format/bounds.ts';
import { overlay } from '../overlay.ts';
import type { ManifestDisk, Repository, Segment, StoredManifest } from '../repository.ts';
import { collected } from '../testing/collected.ts';
import { sampleBackupId } from '../testing/sample-backup-id.ts';
import { noise, sampleRepository, storeDisk } from '../testing/sample-repository.ts';
import { ChunkCache } from './chunk-cache.ts';
import type { Disk, DiskPiece } from './disk.ts';
import { openRestorePointDisk } from './restore-point-disk.ts';

const diskOf = ({ manifest }: StoredManifest): ManifestDisk => {
  const [disk] = manifest.disks;
  if (disk === undefined) throw new Error('a disk was put');
  return disk;
};

function bytesOf(pieces: readonly DiskPiece[]): Buffer {
  return Buffer.concat(
    pieces.map((piece) => (piece instanceof Uint8Array ? piece : new Uint8Array(piece.zeroBytes))),
  );
}

const opened = (repository: Repository, { manifest }: StoredManifest): Promise<Disk> =>
  openRestorePointDisk({ repository, manifest, diskId: 'vda', cache: new ChunkCache({ repository }) });

/** A full with holes, and an incremental of hundreds of pieces over it. */
async function chainOfTwo(repository: Repository): Promise<{ point: StoredManifest; content: Uint8Array }> {
  const content = new Uint8Array(12 * MiB + 777);
  content.set(noise(3 * MiB), 0);
  content.set(noise(300 * KiB), 8 * MiB + 64 * KiB);
  content.set(noise(777), 12 * MiB);
  const parent = await storeDisk(repository, 1, content, 4 * MiB);
  const changes: Segment[] = [];
  for (let offset = 4096; offset + 4096 < content.length; offset += 24 * KiB) {
    const piece = noise(1 + (offset % 4096));
    content.set(piece, offset);
    const { digest } = await repository.putChunk(piece);
    changes.push({ offset, length: piece.length, chunkOffset: 0, digest });
  }
  const point = await repository.putManifest({
    ...{ backupId: sampleBackupId(2), hostId: 'host', vmId: 'vm', kind: 'incremental' },
    ...{ parentBackupId: sampleBackupId(1), takenAt: '2025-01-02T00:00:00Z' },
    disks: [
      {
        diskId: 'vda',
        sizeBytes: content.length,
        segments: overlay(repository.readSegments(diskOf(parent)), changes, content.length),
      },
    ],
  });
  return { point, content };
}

test('any range is read as it is on the disk, and what is told to be a hole is zero', async () => {
  const repository = await sampleRepository();
  const { point, content } = await chainOfTwo(repository);
  const disk = await opened(repository, point);
  expect(disk.sizeBytes).toBe(content.length);
  expect(bytesOf(await disk.read(0, content.length)).equals(content)).toBe(true);
  const ranges = fc
    .tuple(fc.nat(content.length - 1), fc.oneof(fc.nat(9000), fc.nat(content.length)))
    .map(([offset, length]) => ({ offset, length: Math.max(1, Math.min(length, content.length - offset)) }));
  await fc.assert(
    fc.asyncProperty(ranges, fc.integer({ min: 1, max: 5 }), async ({ offset, length }, runsMax) => {
      const pieces = await disk.read(offset, length);
      expect(bytesOf(pieces).equals(content.subarray(offset, offset + length))).toBe(true);
      let at = offset;
      const runs = await disk.extents(offset, length, runsMax);
      expect(runs.length).toBeGreaterThan(0);
      expect(runs.length).toBeLessThanOrEqual(runsMax);
      for (const run of runs) {
        if (run.isHole) expect(content.subarray(at, at + run.length).every((byte) => byte === 0)).toBe(true);
        at += run.length;
      }
      expect(at).toBeLessThanOrEqual(offset + length);
    }),
    { numRuns: 150 },
  );
});

test('the segments found here and there are those of the whole map', async () => {
  const repository = await sampleRepository();
  const disk = diskOf((await chainOfTwo(repository)).point);
  const all = await collected(repository.readSegments(disk));
  const index = await repository.indexSegments(disk);
  expect(await index.find(0, disk.sizeBytes, 1e9)).toEqual(all);
  expect(await index.find(0, disk.sizeBytes, 3)).toEqual(all.slice(0, 3));
  for (const segment of all) expect(await index.find(segment.offset, segment.length, 10)).toEqual([segment]);
});

test('a damaged chunk fails the reads that need it, by disk, offset and digest, and no others', async () => {
  const repository = await sampleRepository();
  const content = new Uint8Array(noise(12 * MiB));
  const point = await storeDisk(repository, 1, content, 4 * MiB);
  const broken = (await collected(repository.readSegments(diskOf(point))))[1]?.digest ?? '';
  const path = join(repository.location, chunkName(broken));
  const file = await readFile(path);
  await writeFile(path, Buffer.concat([file.subarray(0, 2000), Buffer.from('rot'), file.subarray(2003)]));
  const disk = await opened(repository, point);
  for (const [offset, length] of [
    [5 * MiB, 4096],
    [4 * MiB - 1, 2],
    [0, 12 * MiB],
  ] as const) {
    const error = await disk.read(offset, length).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'EIO', permanent: true });
    expect(describeError(error)).toMatch(
      new RegExp(`^Chunk ${broken} at offset \\d+ of disk vda of backup 0.* cannot be read: .*is damaged`),
    );
  }
  expect(bytesOf(await disk.read(8 * MiB, 4 * MiB)).equals(content.subarray(8 * MiB))).toBe(true);
  await writeFile(path, file);
  expect(bytesOf(await disk.read(0, 12 * MiB)).equals(content), 'repaired').toBe(true);
});

test('a map that is damaged is refused, and one that rots later is an error and no other disk', async () => {
  const repository = await sampleRepository();
  const { point, content } = await chainOfTwo(repository);
  const disk = await opened(repository, point);
  const path = join(repository.location, mapName(diskOf(point).mapDigest));
  const map = await readFile(path);
  for (const at of [3, 20, 40, map.length >> 1, map.length - 1]) {
    const bytes = Buffer.from(map);
    bytes.writeUInt8((bytes.at(at) ?? 0) ^ 1, at);
    await writeFile(path, bytes);
    await expect(opened(repository, point)).rejects.toMatchObject({ permanent: true });
  }
  for (const bytes of [map.subarray(0, -16), map.subarray(0, 10), Buffer.concat([map, Buffer.alloc(1)])]) {
    await writeFile(path, bytes);
    await expect(opened(repository, point)).rejects.toThrow('cannot be read');
  }
  const rotten = Buffer.from(map);
  rotten.writeUInt8((map.at(40) ?? 0) ^ 1, 40);
  await writeFile(path, rotten);
  // Nothing was read yet by the disk that was opened while the map was whole.
  const error = await disk.read(0, content.length).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'EIO' });
  expect(describeError(error)).toContain('changed since it was checked');
});

test('whoever reads on finds the next chunks there', async () => {
  const repository = await sampleRepository();
  const content = noise(24 * MiB);
  const point = await storeDisk(repository, 1, content, 4 * MiB);
  const asked: string[] = [];
  const cache = new ChunkCache({
    repository: {
      readChunk(digest) {
        asked.push(digest);
        return repository.readChunk(digest);
      },
    },
  });
  const disk = await openRestorePointDisk({ repository, manifest: point.manifest, diskId: 'vda', cache });
  for (let offset = 0; offset < 2 * MiB; offset += 128 * KiB) await disk.read(offset, 128 * KiB);
  expect(asked.length, 'two more than were asked for').toBe(3);
  for (let offset = 2 * MiB; offset < 24 * MiB; offset += 128 * KiB) await disk.read(offset, 128 * KiB);
  expect(asked.length, 'each chunk was unpacked once').toBe(6);
});

test('a mounted disk writes nothing to the repository', async () => {
  const repository = await sampleRepository();
  const { point, content } = await chainOfTwo(repository);
  const files = async (): Promise<string[]> => {
    const entries = await readdir(repository.location, { recursive: true, withFileTypes: true });
    const paths = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    return await Promise.all(paths.sort().map(async (path) => `${path} ${(await stat(path)).mtimeMs}`));
  };
  const before = await files();
  await (await opened(repository, point)).read(0, content.length);
  expect(await files()).toEqual(before);
});

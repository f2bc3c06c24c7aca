import { createHash } from 'node:crypto';
import { readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { chunkName, manifestName, mapName } from './format/bounds.ts';
import { openRepository } from './open-repository.ts';
import type { NewManifest, Segment } from './repository.ts';
import { collected } from './testing/collected.ts';
import { sampleBackupId } from './testing/sample-backup-id.ts';
import { noise, sampleRepository, storeDisk } from './testing/sample-repository.ts';
import { temporaryFolder } from './testing/temporary-folder.ts';

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
const text = (length: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Buffer.alloc(length, 'the same words again, '));

const flipByte = async (path: string, at: number): Promise<void> => {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
};

describe('chunks', () => {
  test('what is put is read back, packed when that helps, under the digest of its plain bytes', async () => {
    const repository = await sampleRepository();
    for (const make of [
      () => noise(4 * MiB),
      () => text(4 * MiB),
      () => noise(512),
      () => text(100),
      () => noise(1),
    ]) {
      const data = make();
      const copy = new Uint8Array(data);
      const stored = await repository.putChunk(data);
      expect(stored.digest).toBe(sha256(copy));
      const file = await stat(join(repository.location, chunkName(sha256(copy))));
      expect(file.size).toBe(stored.storedBytes);
      expect(file.size).toBeLessThanOrEqual(copy.length + 16);
      expect(Buffer.compare(await repository.readChunk(sha256(copy)), copy)).toBe(0);
      const held = await repository.holdChunk(sha256(copy));
      expect(Buffer.compare(held.bytes, copy)).toBe(0);
      held.release();
    }
  });

  test('a chunk that is held keeps its buffer until it is let go, and whoever waits for it gets it', async () => {
    const repository = await sampleRepository({ buffers: 1 });
    const [first, second] = [noise(2 * MiB), text(3 * MiB)];
    for (const data of [first, second]) await repository.putChunk(data);
    const held = await repository.holdChunk(sha256(first));
    let isThere = false;
    const waiting = repository.holdChunk(sha256(second)).then((other) => {
      isThere = true;
      return other;
    });
    // Needs no buffer, and comes after all that the waiting could have done.
    expect(Buffer.compare(await repository.readChunk(sha256(second)), second)).toBe(0);
    expect([isThere, Buffer.compare(held.bytes, first)]).toEqual([false, 0]);
    held.release();
    const other = await waiting;
    expect(Buffer.compare(other.bytes, second)).toBe(0);
    expect([other.bytes.buffer, other.bytes.byteOffset]).toEqual([held.bytes.buffer, held.bytes.byteOffset]);
    expect(held.retake()).toBe(false);
    other.release();
  });

  test('a buffer of the repository is filled and put, as often as one likes, and holds no more than its chunk', async () => {
    const repository = await sampleRepository({ buffers: 1 });
    for (const data of [noise(2 * MiB), text(3 * MiB), new Uint8Array(MiB), noise(5)]) {
      const buffer = await repository.takeBuffer();
      expect(buffer.bytes.length).toBe(4 * MiB);
      buffer.bytes.set(data);
      const { digest } = await repository.putBuffer(buffer, data.length);
      buffer.release();
      expect(digest).toBe(data.length === MiB ? null : sha256(data));
      if (digest !== null) expect(Buffer.compare(await repository.readChunk(digest), data)).toBe(0);
    }
  });

  test('with all buffers taken the next put waits for one, and a buffer given back cannot be put', async () => {
    const repository = await sampleRepository({ buffers: 1 });
    const buffer = await repository.takeBuffer();
    let isStored = false;
    const putting = repository.putChunk(noise(100)).then(() => {
      isStored = true;
    });
    buffer.bytes.set(noise(5000));
    await repository.putBuffer(buffer, 5000);
    expect(isStored).toBe(false);
    buffer.release();
    await putting;
    await expect(repository.putBuffer(buffer, 5000)).rejects.toThrow('whoever has taken it');
  });

  test('a zero chunk is a fact, not a file', async () => {
    const repository = await sampleRepository();
    expect(await repository.putChunk(new Uint8Array(4 * MiB))).toMatchObject({
      digest: null,
      storedBytes: 0,
    });
    await expect(stat(join(repository.location, 'chunks'))).rejects.toThrow('ENOENT');
  });

  test('the same bytes are stored once: put at the same time, again, and by another process', async () => {
    const repository = await sampleRepository();
    const data = noise(MiB);
    const copies = Array.from({ length: 6 }, () => new Uint8Array(data));
    const stored = await Promise.all(copies.map((copy) => repository.putChunk(copy)));
    expect(stored.filter(({ storedBytes }) => storedBytes > 0)).toHaveLength(1);
    expect((await repository.putChunk(new Uint8Array(data))).storedBytes).toBe(0);
    const other = await sampleRepository({ location: repository.location });
    expect((await other.putChunk(new Uint8Array(data))).storedBytes).toBe(0);
  });

  test('a chunk that is too large is a mistake of the caller, and nothing is stuck after it', async () => {
    const repository = await sampleRepository();
    await expect(repository.putChunk(new Uint8Array(4 * MiB + 1))).rejects.toThrow('at most 4 MiB');
    await expect(repository.putChunk(new Uint8Array(0))).rejects.toThrow('not empty');
    const pooled = Buffer.from('in the pool that all of Node shares');
    expect((await repository.putChunk(pooled)).digest).toBe(sha256(pooled));
    expect((await repository.putChunk(noise(100))).storedBytes).toBe(116);
  });

  test('after close, a put is refused instead of waiting forever', async () => {
    const repository = await sampleRepository();
    const putting = repository.putChunk(noise(4 * MiB));
    await repository.close();
    await expect(putting).rejects.toThrow(/closed|died/);
    await expect(repository.putChunk(noise(1))).rejects.toThrow('closed');
  });

  test.each(['readChunk' as const, 'holdChunk' as const])(
    'bit rot, truncation and loss are found, and named: %s',
    async (read) => {
      // One buffer: whatever keeps it after a failure is found by the next.
      const repository = await sampleRepository({ buffers: 1 });
      for (const data of [noise(MiB), text(MiB)]) {
        const { digest } = await repository.putChunk(data);
        const path = join(repository.location, chunkName(digest ?? ''));
        const { size } = await stat(path);
        await flipByte(path, size - 10);
        await expect(repository[read](digest ?? '')).rejects.toThrow(`Chunk ${digest} is damaged`);
        await expect(repository[read](digest ?? '')).rejects.toMatchObject({ permanent: true });
        await truncate(path, size - 1);
        await expect(repository[read](digest ?? '')).rejects.toThrow(`where ${size} were written`);
        await truncate(path, 5 * MiB);
        await expect(repository[read](digest ?? '')).rejects.toMatchObject({
          permanent: true,
          cause: expect.objectContaining({ message: expect.stringContaining('more than the 4194320') }),
        });
        await rm(path);
        await expect(repository[read](digest ?? '')).rejects.toThrow(`Chunk ${digest} is missing`);
      }
    },
  );
});

describe('restore points', () => {
  const full = (n: number, segments: Segment[], changes: Partial<NewManifest> = {}): NewManifest => ({
    ...{ backupId: sampleBackupId(n), hostId: 'host', vmId: 'vm', kind: 'full', parentBackupId: null },
    takenAt: `2025-01-${String(n).padStart(2, '0')}T00:00:00Z`,
    disks: [{ diskId: 'vda', sizeBytes: 8192, segments }],
    ...changes,
  });
  const half: Segment[] = [
    { offset: 0, length: 4096, digest: 'ab'.repeat(32), chunkOffset: 0 },
    { offset: 4096, length: 4096, digest: null, chunkOffset: 0 },
  ];
  const zero: Segment[] = [{ offset: 0, length: 8192, digest: null, chunkOffset: 0 }];

  test('a manifest put twice is one; with other content it is refused', async () => {
    const repository = await sampleRepository();
    const first = await repository.putManifest(full(1, half));
    expect(await repository.putManifest(full(1, half))).toEqual(first);
    expect(first.digest).toBe(
      sha256(await readFile(join(repository.location, manifestName(sampleBackupId(1))))),
    );
    const conflict = repository.putManifest(full(1, zero));
    await expect(conflict).rejects.toThrow('is there already, with other content');
    await expect(conflict).rejects.toMatchObject({ permanent: true, code: 'ManifestConflict' });
    expect(await repository.readManifest(sampleBackupId(1))).toEqual(first);
  });

  test('segments come back in order, in their canonical form, from a disk of any size', async () => {
    const repository = await sampleRepository();
    const split = half.flatMap((segment): Segment[] => [
      { ...segment, length: 1000 },
      {
        ...segment,
        offset: segment.offset + 1000,
        length: segment.length - 1000,
        chunkOffset: segment.digest === null ? 0 : 1000,
      },
    ]);
    const { manifest } = await repository.putManifest(
      full(1, half, {
        disks: [
          { diskId: 'vda', sizeBytes: 8192, segments: split },
          { diskId: 'empty', sizeBytes: 0, segments: [] },
        ],
      }),
    );
    const [vda, empty] = manifest.disks;
    if (vda === undefined || empty === undefined) throw new Error('two disks were put');
    expect(await collected(repository.readSegments(vda))).toEqual(half);
    expect(await collected(repository.readSegments(empty))).toEqual([]);
  });

  test('a list with a gap makes no restore point', async () => {
    const repository = await sampleRepository();
    const gap = repository.putManifest(full(1, half.slice(1)));
    await expect(gap).rejects.toThrow('segment map of disk vda');
    await expect(gap).rejects.toMatchObject({ permanent: true });
    expect(await repository.readManifest(sampleBackupId(1))).toBeUndefined();
  });

  test('they are listed oldest first, and a damaged one stops nothing', async () => {
    const repository = await sampleRepository();
    for (const n of [3, 1, 2]) await repository.putManifest(full(n, half));
    await flipByte(join(repository.location, manifestName(sampleBackupId(2))), 100);
    await writeFile(join(repository.location, 'manifests', 'notes.txt'), 'mine');
    const { manifests, damaged } = await repository.listManifests();
    expect(manifests.map(({ manifest }) => manifest.takenAt.slice(0, 10))).toEqual([
      '2025-01-01',
      '2025-01-03',
    ]);
    expect(damaged.map(({ file }) => file)).toEqual([manifestName(sampleBackupId(2)), 'manifests/notes.txt']);
    await expect(repository.readManifest(sampleBackupId(2))).rejects.toThrow(
      `${manifestName(sampleBackupId(2))} in ${repository.location} is damaged`,
    );
  });

  test('a map that was changed, cut off or lost is found before a segment of it is used', async () => {
    const repository = await sampleRepository();
    const { manifest } = await repository.putManifest(full(1, half));
    const disk = manifest.disks[0];
    if (disk === undefined) throw new Error('a disk was put');
    const path = join(repository.location, mapName(disk.mapDigest));
    for (const spoil of [() => flipByte(path, 40), () => truncate(path, 60), () => rm(path)]) {
      await spoil();
      const seen: Segment[] = [];
      const reading = (async () => {
        for await (const segment of repository.readSegments(disk)) seen.push(segment);
      })();
      await expect(reading).rejects.toThrow(mapName(disk.mapDigest));
      await expect(reading).rejects.toMatchObject({ permanent: true });
      expect(seen).toEqual([]);
    }
  });
});

describe('opening', () => {
  test('many at once make one repository', async () => {
    const location = join(await temporaryFolder(), 'new');
    const opened = await Promise.all(Array.from({ length: 5 }, () => sampleRepository({ location })));
    expect(new Set(opened.map(({ repositoryId }) => repositoryId)).size).toBe(1);
  });

  test('a folder with other things in it is left alone', async () => {
    const location = await temporaryFolder();
    await writeFile(join(location, 'thesis.txt'), 'x');
    await expect(openRepository({ location })).rejects.toThrow('it has "thesis.txt"');
  });

  test('a reader makes nothing', async () => {
    const location = join(await temporaryFolder(), 'new');
    await expect(openRepository({ location, create: false })).rejects.toThrow('is not a repository');
    await expect(stat(location)).rejects.toThrow('ENOENT');
  });

  test('a newer format is refused by its number', async () => {
    const repository = await sampleRepository();
    await writeFile(join(repository.location, 'repository.json'), '{"formatVersion": 2}');
    await expect(openRepository({ location: repository.location })).rejects.toMatchObject({
      permanent: true,
      cause: expect.objectContaining({ message: expect.stringContaining('this release reads 1') }),
    });
  });

  test('what was stored is there after opening again', async () => {
    const first = await sampleRepository();
    const content = noise(3 * MiB);
    const { digest } = await storeDisk(first, 1, content, MiB);
    await first.close();
    const second = await sampleRepository({ location: first.location, create: false });
    expect((await second.listManifests()).manifests[0]?.digest).toBe(digest);
  });
});

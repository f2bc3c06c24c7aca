import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, KiB, MiB } from '@backhaul/kernel';
import { describe, expect, test } from 'vitest';
import { chunkName } from './format/bounds.ts';
import { overlay } from './overlay.ts';
import type { Segment } from './repository.ts';
import { restoreDisk } from './restore-disk.ts';
import { collected } from './testing/collected.ts';
import { sampleBackupId } from './testing/sample-backup-id.ts';
import { noise, sampleRepository, storeDisk } from './testing/sample-repository.ts';
import { temporaryFolder } from './testing/temporary-folder.ts';

/** 12 MiB and a bit: data, a hole, data with a hole inside, and an end that fills no block. */
function sampleDisk(): Uint8Array {
  const content = new Uint8Array(12 * MiB + 777);
  content.set(noise(3 * MiB), 0);
  content.set(noise(256 * KiB), 8 * MiB + 64 * KiB);
  content.set(noise(777), 12 * MiB);
  return content;
}

test('a restored disk has the same bytes and the same holes', async () => {
  const repository = await sampleRepository();
  const content = sampleDisk();
  const { manifest } = await storeDisk(repository, 1, content, 4 * MiB);
  const target = join(await temporaryFolder(), 'vda.raw');
  const progress: number[] = [];
  const restored = await restoreDisk({
    ...{ repository, manifest, diskId: 'vda', target },
    onProgress: ({ doneBytes }) => progress.push(doneBytes),
  });
  expect(Buffer.compare(await readFile(target), content)).toBe(0);
  expect(restored).toEqual({ sizeBytes: content.length, writtenBytes: 3 * MiB + 256 * KiB + 777 });
  const { blocks } = await stat(target);
  expect(blocks * 512).toBeLessThan(3.5 * MiB);
  expect(progress.at(-1)).toBe(content.length);
});

test('an incremental restores alone, with its parent’s chunks in pieces', async () => {
  const repository = await sampleRepository({ buffers: 1 });
  const content = sampleDisk();
  const parent = await storeDisk(repository, 1, content, 4 * MiB);
  const disk = parent.manifest.disks[0];
  if (disk === undefined) throw new Error('a disk was put');

  const changes: Segment[] = [];
  const grown = new Uint8Array(13 * MiB);
  grown.set(content);
  for (let offset = 64 * KiB; offset < grown.length - 4096; offset += MiB) {
    const piece = noise(4096);
    grown.set(piece, offset);
    changes.push({ offset, length: 4096, chunkOffset: 0, digest: (await repository.putChunk(piece)).digest });
  }
  const { manifest } = await repository.putManifest({
    ...{ backupId: sampleBackupId(2), hostId: 'host', vmId: 'vm', kind: 'incremental' },
    ...{ parentBackupId: sampleBackupId(1), takenAt: '2025-01-02T00:00:00Z' },
    disks: [
      {
        diskId: 'vda',
        sizeBytes: grown.length,
        segments: overlay(repository.readSegments(disk), changes, grown.length),
      },
    ],
  });
  const target = join(await temporaryFolder(), 'vda.raw');
  await restoreDisk({ repository, manifest, diskId: 'vda', target });
  expect(Buffer.compare(await readFile(target), grown)).toBe(0);
});

describe('a restore that fails leaves nothing that looks restored', () => {
  test('a damaged chunk is named with its disk, offset and digest', async () => {
    const repository = await sampleRepository();
    const { manifest } = await storeDisk(repository, 1, sampleDisk(), 4 * MiB);
    const disk = manifest.disks[0];
    if (disk === undefined) throw new Error('a disk was put');
    const broken = (await collected(repository.readSegments(disk)))[2];
    const digest = broken?.digest ?? '';
    await using file = await open(join(repository.location, chunkName(digest)), 'r+');
    await file.write(Buffer.from('rot'), 0, 3, 100);

    const folder = await temporaryFolder();
    const restoring = restoreDisk({ repository, manifest, diskId: 'vda', target: join(folder, 'vda.raw') });
    const error = await restoring.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(describeError(error)).toContain(`Disk vda, offset ${8 * MiB}, chunk ${digest} cannot be restored`);
    expect(error).toMatchObject({ permanent: true });
    expect(await readdir(folder)).toEqual([]);
  });

  test('a target that exists is refused, and replaced only when asked', async () => {
    const repository = await sampleRepository();
    const content = sampleDisk();
    const { manifest } = await storeDisk(repository, 1, content, 4 * MiB);
    const target = join(await temporaryFolder(), 'vda.raw');
    await writeFile(target, 'precious');
    await expect(restoreDisk({ repository, manifest, diskId: 'vda', target })).rejects.toThrow('exists');
    expect(await readFile(target, 'utf8')).toBe('precious');
    await restoreDisk({ repository, manifest, diskId: 'vda', target, overwrite: true });
    expect(Buffer.compare(await readFile(target), content)).toBe(0);
  });

  test('a disk that the backup does not have is refused with those it has', async () => {
    const repository = await sampleRepository();
    const { manifest } = await storeDisk(repository, 1, sampleDisk(), 4 * MiB);
    const target = join(await temporaryFolder(), 'vdb.raw');
    await expect(restoreDisk({ repository, manifest, diskId: 'vdb', target })).rejects.toThrow(
      'has no disk vdb, only: vda',
    );
  });

  test('a restore that is called off stops', async () => {
    const repository = await sampleRepository();
    const { manifest } = await storeDisk(repository, 1, sampleDisk(), 4 * MiB);
    const folder = await temporaryFolder();
    const signal = AbortSignal.abort(new Error('the operator left'));
    const options = { repository, manifest, diskId: 'vda', target: join(folder, 'vda.raw'), signal };
    await expect(restoreDisk(options)).rejects.toMatchObject({ cause: { message: 'the operator left' } });
    expect(await readdir(folder)).toEqual([]);
  });
});

/** Time and memory follow what is in a disk, not how large it could become. */
import { randomUUID } from 'node:crypto';
import { TiB } from '@backhaul/kernel';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { incrementalOrder, must, restorePointOf } from '../host-contract.ts';
import { type ImageFolder, makeImageFolder } from '../testing/image-folder.ts';
import { changedExtents } from '../testing/read-export.ts';

const SECONDS_MAX = 20;
const MiB = 1024 * 1024;

describe('a VM with two disks of 8 TiB that are almost empty', () => {
  let images: ImageFolder;
  beforeEach(async () => {
    images = await makeImageFolder();
    await images.create('web/vda.qcow2', '8T');
    await images.create('web/vdb.raw', '8T');
    await images.guest('web/vda.qcow2', 'write 0 1M', 'write 5T 1M');
    await images.guest('web/vdb.raw', 'write 3T 1M');
  });
  afterEach(async () => {
    await images?.remove();
  });

  test('is inspected, frozen and asked for its changes in seconds', async () => {
    const host = await images.open();
    const start = performance.now();
    const { disks } = must(await host.inspect('web', null));
    expect(disks.map((disk) => disk.sizeBytes)).toEqual([8 * TiB, 8 * TiB]);
    const [vda, vdb] = disks.map((disk) => disk.allocated);
    expect(vda?.buckets.length).toBe(256);
    expect(vda?.buckets.flatMap((bytes, index) => (bytes === 0 ? [] : [[index, bytes]]))).toEqual([
      [0, MiB],
      [160, MiB],
    ]);
    expect(vdb?.buckets[96]).toBe(MiB);

    const order = {
      snapshotId: randomUUID(),
      vmId: 'web',
      disks: disks.map(({ diskId }) => ({
        diskId,
        kind: 'full' as const,
        parentCheckpoint: null,
        parentIdentity: null,
      })),
    };
    const parent = restorePointOf(order.snapshotId, must(await host.takeSnapshot(order)));
    await host.releaseSnapshot(order.snapshotId, 'web', 'committed');
    await images.guest('web/vda.qcow2', 'write 7T 64k');
    const [disk] = must(await host.takeSnapshot(incrementalOrder(randomUUID(), 'web', parent))).disks;
    expect(await changedExtents(disk?.endpoint ?? '', disk?.changedContext ?? '')).toEqual([
      { offset: 7 * TiB, length: 65_536 },
    ]);
    expect((performance.now() - start) / 1000).toBeLessThan(SECONDS_MAX);
  });
});

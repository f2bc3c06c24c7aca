/**
 * Changed-block tracking through real images: what an incremental reads is what was written, and every doubt about a
 * checkpoint is a full of that disk alone, with its reason.
 */
import { randomUUID } from 'node:crypto';
import { copyFile, rename } from 'node:fs/promises';
import type { RestorePoint } from '@backhaul/contracts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { HypervisorHost, Snapshot } from '../host.ts';
import { incrementalOrder, must, restorePointOf } from '../host-contract.ts';
import { type ImageFolder, makeImageFolder } from '../testing/image-folder.ts';
import { changedExtents, readExport } from '../testing/read-export.ts';

const KiB = 1024;
const DISK = 'web/vda.qcow2';

describe('checkpoints of a qcow2 image', () => {
  let images: ImageFolder;
  let host: HypervisorHost;
  beforeEach(async () => {
    images = await makeImageFolder();
    await images.create(DISK, '64M');
    await images.guest(DISK, 'write -P 1 0 8M');
    host = await images.open();
  });
  afterEach(async () => {
    await images?.remove();
  });

  const full = async (disks = ['vda']): Promise<Snapshot> => {
    const snapshotId = randomUUID();
    const order = {
      snapshotId,
      vmId: 'web',
      disks: disks.map((diskId) => ({
        diskId,
        kind: 'full' as const,
        parentCheckpoint: null,
        parentIdentity: null,
      })),
    };
    const snapshot = must(await host.takeSnapshot(order));
    await host.releaseSnapshot(snapshotId, 'web', 'committed');
    return snapshot;
  };
  const parentNow = async (disks?: string[]): Promise<RestorePoint> =>
    restorePointOf(randomUUID(), await full(disks));
  const changedIn = async (snapshot: Snapshot) => {
    const [disk] = snapshot.disks;
    return await changedExtents(disk?.endpoint ?? '', disk?.changedContext ?? '');
  };

  test('an incremental reads exactly the 64 KiB clusters that were written, and nothing when nothing was', async () => {
    const parent = await parentNow();
    const quiet = incrementalOrder(randomUUID(), 'web', parent);
    expect(await changedIn(must(await host.takeSnapshot(quiet)))).toEqual([]);
    await host.releaseSnapshot(quiet.snapshotId, 'web', 'discarded');

    await images.guest(
      DISK,
      'write -P 2 1M 64k',
      'write -P 3 20M 100k',
      'write -z 40M 64k',
      'discard 2M 64k',
    );
    const order = incrementalOrder(randomUUID(), 'web', parent);
    expect(await changedIn(must(await host.takeSnapshot(order)))).toEqual([
      { offset: 1024 * KiB, length: 64 * KiB },
      { offset: 2048 * KiB, length: 64 * KiB },
      { offset: 20 * 1024 * KiB, length: 128 * KiB },
      { offset: 40 * 1024 * KiB, length: 64 * KiB },
    ]);
  });

  test('what a discarded incremental had seen is seen again, and only the committed checkpoint stays', async () => {
    const parent = await parentNow();
    await images.guest(DISK, 'write -P 2 1M 64k');
    const first = incrementalOrder(randomUUID(), 'web', parent);
    must(await host.takeSnapshot(first));
    await host.releaseSnapshot(first.snapshotId, 'web', 'discarded');
    await images.guest(DISK, 'write -P 2 5M 64k');

    const second = incrementalOrder(randomUUID(), 'web', parent);
    expect(await changedIn(must(await host.takeSnapshot(second)))).toEqual([
      { offset: 1024 * KiB, length: 64 * KiB },
      { offset: 5 * 1024 * KiB, length: 64 * KiB },
    ]);
    await host.releaseSnapshot(second.snapshotId, 'web', 'committed');
    expect(await images.bitmapNames(DISK)).toEqual([`backhaul-${second.snapshotId}.vda`]);
  });

  test('a checkpoint that an earlier crash left is removed with the next commit', async () => {
    await images.img('bitmap', '--add', images.path(DISK), 'backhaul-of-a-crash');
    await images.img('bitmap', '--add', images.path(DISK), 'somebody-elses');
    const parent = await parentNow();
    const [disk] = parent.disks;
    expect((await images.bitmapNames(DISK)).sort()).toEqual([disk?.checkpoint, 'somebody-elses']);
  });

  /** What is done to the image after the parent, and what is said of it then. */
  const doubts: [string, (checkpoint: string) => Promise<unknown>, RegExp, string][] = [
    [
      'removed',
      (checkpoint) => images.img('bitmap', '--remove', images.path(DISK), checkpoint),
      /no bitmap/,
      'CheckpointAbsent',
    ],
    [
      'disabled',
      (checkpoint) => images.img('bitmap', '--disable', images.path(DISK), checkpoint),
      /disabled/,
      'CheckpointDisabled',
    ],
    [
      'made anew with another granularity',
      async (checkpoint) => {
        await images.img('bitmap', '--remove', images.path(DISK), checkpoint);
        await images.img('bitmap', '--add', '-g', '128k', images.path(DISK), checkpoint);
      },
      /granularity of 131072/,
      'GranularityChanged',
    ],
    [
      'left open by a VM that was killed',
      async () => await (await images.runVm(DISK, 'write -P 9 3M 64k')).crash(),
      /not closed cleanly/,
      'CheckpointInconsistent',
    ],
    [
      'in an image that was replaced by a copy of itself',
      async () => {
        await copyFile(images.path(DISK), images.path('copy'));
        await rename(images.path('copy'), images.path(DISK));
      },
      /another file/,
      'ImageReplaced',
    ],
  ];
  test.each(doubts)('a checkpoint %s means a full, with the reason', async (_, spoil, reason, code) => {
    const parent = await parentNow();
    await spoil(parent.disks[0]?.checkpoint ?? '');
    const { disks } = must(await host.inspect('web', parent));
    expect(disks[0]?.tracking).toMatchObject({ state: 'unusable', code });
    const order = incrementalOrder(randomUUID(), 'web', parent);
    const [disk] = must(await host.takeSnapshot(order)).disks;
    expect(disk).toMatchObject({ kind: 'full', changedContext: null });
    expect(disk?.fallbackReason).toMatch(reason);
    await host.releaseSnapshot(order.snapshotId, 'web', 'committed');
    // The next one stands on firm ground again.
    expect(await images.bitmapNames(DISK)).toEqual([`backhaul-${order.snapshotId}.vda`]);
  });

  test('an image resized since the parent means a full', async () => {
    const parent = await parentNow();
    await images.img('resize', images.path(DISK), '128M');
    expect(must(await host.inspect('web', parent)).disks[0]?.tracking).toMatchObject({ code: 'SizeChanged' });
    const [disk] = must(await host.takeSnapshot(incrementalOrder(randomUUID(), 'web', parent))).disks;
    expect(disk).toMatchObject({ kind: 'full', sizeBytes: 128 * 1024 * KiB });
  });

  test('an image rolled back to a copy from before the parent means a full', async () => {
    await copyFile(images.path(DISK), images.path('before'));
    const parent = await parentNow();
    await images.guest(DISK, 'write -P 2 1M 64k');
    // Copied over in place: the same inode, the same size.
    await copyFile(images.path('before'), images.path(DISK));
    const [disk] = must(await host.takeSnapshot(incrementalOrder(randomUUID(), 'web', parent))).disks;
    expect(disk).toMatchObject({ kind: 'full' });
    expect(disk?.fallbackReason).toMatch(/copy from before the parent/);
  });

  test('an image rolled back to a copy from after the parent is right: the checkpoint travels with the data', async () => {
    const parent = await parentNow();
    const old = await images.contents('vda');
    await images.guest(DISK, 'write -P 2 1M 64k');
    await copyFile(images.path(DISK), images.path('after'));
    await images.guest(DISK, 'write -P 3 5M 64k');
    await copyFile(images.path('after'), images.path(DISK));

    const snapshot = must(await host.takeSnapshot(incrementalOrder(randomUUID(), 'web', parent)));
    const changed = await changedIn(snapshot);
    expect(changed).toEqual([{ offset: 1024 * KiB, length: 64 * KiB }]);
    const now = await readExport(snapshot.disks[0]?.endpoint ?? '');
    for (const { offset, length } of changed) now.copy(old, offset, offset, offset + length);
    expect(old.equals(now)).toBe(true);
  });

  test('an image whose base was written since means a full', async () => {
    await rename(images.path(DISK), images.path('base'));
    await images.img(
      'create',
      '-q',
      '-f',
      'qcow2',
      '-b',
      images.path('base'),
      '-F',
      'qcow2',
      images.path(DISK),
    );
    const parent = await parentNow();
    expect(must(await host.inspect('web', parent)).disks[0]?.tracking).toMatchObject({ state: 'usable' });
    await images.img('bitmap', '--add', images.path('base'), 'a-write-of-any-kind');
    expect(must(await host.inspect('web', parent)).disks[0]?.tracking).toMatchObject({
      code: 'ImageReplaced',
    });
  });

  test('one disk in doubt is a full, and the others stay incremental', async () => {
    await images.create('web/vdb.qcow2', '16M');
    await images.create('web/vdc.raw', '16M');
    await images.create('web/vdd.qcow2', '16M', '-o', 'compat=0.10');
    const parent = await parentNow(['vda', 'vdb', 'vdc', 'vdd']);
    expect(parent.disks.map((disk) => disk.checkpoint !== null)).toEqual([true, true, false, false]);
    await images.img('bitmap', '--remove', images.path(DISK), parent.disks[0]?.checkpoint ?? '');
    await images.guest('web/vdb.qcow2', 'write 0 64k');
    const { disks } = must(await host.inspect('web', parent));
    expect(disks.map((disk) => (disk.tracking.state === 'usable' ? 'usable' : disk.tracking.code))).toEqual([
      'CheckpointAbsent',
      'usable',
      'FormatWithoutTracking',
      'FormatWithoutTracking',
    ]);
    const snapshot = must(await host.takeSnapshot(incrementalOrder(randomUUID(), 'web', parent)));
    expect(snapshot.disks.map((disk) => disk.kind)).toEqual(['full', 'incremental', 'full', 'full']);
  });

  test('a disk that the parent did not have is said to be new', async () => {
    const parent = await parentNow();
    await images.create('web/vdb.qcow2', '16M');
    const { disks } = must(await host.inspect('web', parent));
    expect(disks.map((disk) => (disk.tracking.state === 'usable' ? 'usable' : disk.tracking.code))).toEqual([
      'usable',
      'DiskNotInParent',
    ]);
  });
});

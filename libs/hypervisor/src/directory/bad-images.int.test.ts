/** What is wrong in a folder is said to the one who asks, in words that name the file, and nothing is left of the attempt. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { HypervisorHost, SnapshotOrder } from '../host.ts';
import { must } from '../host-contract.ts';
import { openHost } from '../open-host.ts';
import { type ImageFolder, makeImageFolder } from '../testing/image-folder.ts';

describe('a folder of images', () => {
  let images: ImageFolder;
  let host: HypervisorHost;
  beforeEach(async () => {
    images = await makeImageFolder();
    host = await images.open();
  });
  afterEach(async () => {
    await images?.remove();
  });

  const order = (vmId: string, ...disks: string[]): SnapshotOrder => ({
    snapshotId: randomUUID(),
    vmId,
    disks: disks.map((diskId) => ({ diskId, kind: 'full', parentCheckpoint: null, parentIdentity: null })),
  });
  /** Both roads into a VM say the same, and leave nothing behind. */
  const refusalOf = async (vmId: string, diskId = 'vda') => {
    const inspected = await host.inspect(vmId, null);
    const taken = await host.takeSnapshot(order(vmId, diskId));
    expect(await images.leftovers()).toEqual([]);
    if (inspected.ok || taken.ok) throw new Error('It was not refused');
    expect(taken.refusal.code).toBe(inspected.refusal.code);
    return inspected.refusal;
  };

  test('has a VM per sub-folder with images, and one per image at the top', async () => {
    await images.create('web/vda.qcow2', '1M');
    await images.create('alone.raw', '1M');
    await mkdir(images.path('notes'));
    await writeFile(images.path('README.txt'), 'not a disk');
    expect(await host.listVms()).toEqual(['alone', 'web']);
    const { disks } = must(await host.inspect('alone', null));
    expect(disks.map((disk) => disk.diskId)).toEqual(['alone']);
  });

  test('takes the disks of a VM in the order of their names', async () => {
    for (const name of ['web/c.img', 'web/a.raw', 'web/b.qcow2']) await images.create(name, '1M');
    const { disks } = must(await host.inspect('web', null));
    expect(disks.map((disk) => disk.diskId)).toEqual(['a', 'b', 'c']);
  });

  test('of which one has no images: the VM has no disks', async () => {
    await mkdir(images.path('web'));
    expect(await refusalOf('web')).toMatchObject({ code: 'NoDisks' });
  });

  test('refuses names that cannot be used, and never walks out of itself', async () => {
    await images.create('web/my disk.raw', '1M');
    expect(await refusalOf('web')).toMatchObject({
      code: 'NameUnusable',
      message: expect.stringMatching(/my disk/),
    });
    for (const vmId of ['..', '../images', '.', '']) {
      expect(await refusalOf(vmId)).toMatchObject({ code: 'NameUnusable' });
    }
  });

  test('refuses one name for two things', async () => {
    await images.create('web/vda.raw', '1M');
    await images.create('web/vda.qcow2', '1M');
    expect(await refusalOf('web')).toMatchObject({
      code: 'NameUnusable',
      message: expect.stringMatching(/two images/),
    });
    await images.create('db/vda.raw', '1M');
    await images.create('db.raw', '1M');
    expect(await refusalOf('db')).toMatchObject({ code: 'NameUnusable' });
  });

  test('refuses an image that leads nowhere, and a disk that is gone since the plan', async () => {
    await mkdir(images.path('web'));
    await symlink(images.path('nowhere'), images.path('web/vda.raw'));
    expect(await refusalOf('web')).toMatchObject({
      code: 'ImageMissing',
      message: expect.stringMatching(/vda\.raw/),
    });
    await rm(images.path('web/vda.raw'));
    await images.create('web/vdb.raw', '1M');
    expect(await host.takeSnapshot(order('web', 'vda', 'vdb'))).toMatchObject({
      ok: false,
      refusal: { code: 'ImageMissing', message: expect.stringMatching(/vda .*vdb/) },
    });
    expect(await images.leftovers()).toEqual([]);
  });

  test('refuses what is not qcow2 under that name, in the words of qemu-img', async () => {
    await mkdir(images.path('web'));
    await writeFile(images.path('web/vda.qcow2'), 'certainly not');
    expect(await refusalOf('web')).toMatchObject({
      code: 'ImageCorrupt',
      message: expect.stringMatching(/disk vda .*not in qcow2 format.*vda\.qcow2/),
    });
  });

  test('refuses a qcow2 image whose tables are damaged', async () => {
    const path = await images.create('web/vda.qcow2', '64M');
    await images.guest('web/vda.qcow2', 'write 0 1M');
    const file = await open(path, 'r+');
    // The L1 table of a fresh image lies in its fourth cluster.
    await file.write(Buffer.alloc(4096, 0x5a), 0, 4096, 3 * 65_536);
    await file.close();
    const refused = await host.inspect('web', null);
    expect(refused).toMatchObject({ ok: false, refusal: { code: 'ImageCorrupt' } });
    expect(!refused.ok && refused.refusal.message).toMatch(/L1 entry|corrupt/);
  });

  test('refuses an image whose base is missing, and names the base', async () => {
    await images.create('web/vda.qcow2', '1M');
    await images.img('rebase', '-u', '-b', '/no/such/base', '-F', 'raw', images.path('web/vda.qcow2'));
    expect(await refusalOf('web')).toMatchObject({
      code: 'ImageCorrupt',
      message: expect.stringMatching(/\/no\/such\/base/),
    });
  });

  test('refuses a qcow2 image in the clothes of a raw one', async () => {
    await images.create('web/other.qcow2', '1M');
    await symlink(images.path('web/other.qcow2'), images.path('web/vda.img'));
    expect(await refusalOf('web')).toMatchObject({
      code: 'ImageUnusable',
      message: expect.stringMatching(/ambiguous/),
    });
  });

  test.each(['web/vda.qcow2', 'web/vda.raw'])('refuses %s while a VM runs on it', async (name) => {
    await images.create(name, '8M');
    const vm = await images.runVm(name, 'write 0 64k');
    const refused = [await host.inspect('web', null), await host.takeSnapshot(order('web', 'vda'))];
    for (const one of refused) {
      expect(one).toMatchObject({ ok: false, refusal: { code: 'ImageInUse' } });
      expect(!one.ok && one.refusal.message).toContain(images.path(name));
    }
    await vm.stop();
    expect(await images.leftovers()).toEqual([]);
    must(await host.inspect('web', null));
  });

  test('takes disks of no size, and of a size that is no multiple of anything', async () => {
    await images.create('web/empty.qcow2', '0');
    await mkdir(images.path('web'), { recursive: true });
    await writeFile(images.path('web/none.raw'), '');
    await writeFile(images.path('web/odd.raw'), Buffer.alloc(1000, 7));
    await truncate(images.path('web/odd.raw'), 5_000_000);
    const { disks } = must(await host.inspect('web', null));
    expect(disks.map(({ diskId, sizeBytes }) => [diskId, sizeBytes])).toEqual([
      ['empty', 0],
      ['none', 0],
      ['odd', 5_000_192],
    ]);
    const taken = must(await host.takeSnapshot(order('web', 'empty', 'none', 'odd')));
    expect(taken.disks.map((disk) => disk.sizeBytes)).toEqual([0, 0, 5_000_192]);
  });
});

describe('opening a host', () => {
  let images: ImageFolder;
  beforeEach(async () => {
    images = await makeImageFolder();
  });
  afterEach(async () => {
    await images?.remove();
  });
  const options = () => ({
    hostId: 'h1',
    kind: 'directory',
    address: images.folder,
    stateDirectory: images.stateFolder,
  });

  test('of an unknown kind, or without its folder, is a permanent fault', async () => {
    await expect(openHost({ ...options(), kind: 'cloud' })).rejects.toMatchObject({
      permanent: true,
      code: 'HostKindUnknown',
    });
    await expect(openHost({ ...options(), address: '/no/such/folder' })).rejects.toMatchObject({
      permanent: true,
      code: 'FolderMissing',
    });
  });

  test('with paths too long for a socket fails at once, saying what to shorten', async () => {
    const stateDirectory = `/tmp/${'long/'.repeat(12)}`;
    await expect(openHost({ ...options(), stateDirectory })).rejects.toThrow(/shorter state directory/);
  });

  test('without the tools names the packages that bring them', async () => {
    const path = process.env.PATH;
    process.env.PATH = images.folder;
    try {
      await expect(openHost(options())).rejects.toThrow(/qemu-img is not installed.*qemu-utils/);
    } finally {
      process.env.PATH = path;
    }
  });
});

/** A snapshot through crashes: of its server, of the caller at any moment, and with VMs that start when they should not. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { rename, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exportUri } from '@backhaul/contracts';
import { eventually } from '@backhaul/kernel';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { HypervisorHost, SnapshotOrder } from '../host.ts';
import { incrementalOrder, must, restorePointOf } from '../host-contract.ts';
import { type ImageFolder, makeImageFolder } from '../testing/image-folder.ts';
import { readExport } from '../testing/read-export.ts';

describe('a snapshot of a directory host', () => {
  let images: ImageFolder;
  let host: HypervisorHost;
  beforeEach(async () => {
    images = await makeImageFolder();
    await images.create('web/vda.qcow2', '16M');
    await images.create('web/vdb.raw', '8M');
    await images.guest('web/vda.qcow2', 'write -P 1 0 2M');
    await images.guest('web/vdb.raw', 'write -P 2 1M 2M');
    host = await images.open();
  });
  afterEach(async () => {
    await images?.remove();
  });

  const fullOrder = (snapshotId: string): SnapshotOrder => ({
    snapshotId,
    vmId: 'web',
    disks: ['vda', 'vdb'].map((diskId) => ({
      diskId,
      kind: 'full',
      parentCheckpoint: null,
      parentIdentity: null,
    })),
  });

  test.each(['web/vda.qcow2', 'web/vdb.raw'])(
    'keeps writers of %s out until it is released',
    async (name) => {
      const order = fullOrder(randomUUID());
      must(await host.takeSnapshot(order));
      await expect(images.guest(name, 'write -P 9 0 64k')).rejects.toThrow(/lock/);
      await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
      await images.guest(name, 'write -P 9 0 64k');
    },
  );

  test('goes on after its server died while nobody touched the images: the same snapshot, served again', async () => {
    const order = fullOrder(randomUUID());
    const snapshot = must(await host.takeSnapshot(order));
    const before = await readExport(snapshot.disks[0]?.endpoint ?? '');
    await images.kill('snapshots/');
    expect((await host.observe()).snapshots).toMatchObject([
      { state: 'gone', detail: expect.stringMatching(/gone/) },
    ]);

    expect(must(await host.takeSnapshot(order))).toEqual(snapshot);
    expect((await readExport(snapshot.disks[0]?.endpoint ?? '')).equals(before)).toBe(true);
    expect((await host.observe()).snapshots).toMatchObject([{ state: 'alive' }]);
  });

  test.each(['web/vda.qcow2', 'web/vdb.raw'])(
    'is lost for good once %s was written after its server died',
    async (name) => {
      const order = fullOrder(randomUUID());
      must(await host.takeSnapshot(order));
      await images.kill('snapshots/');
      await images.guest(name, 'write -P 9 0 64k');
      const lost = {
        permanent: true,
        code: 'SnapshotLost',
        message: expect.stringMatching(/written or replaced/),
      };
      await expect(host.takeSnapshot(order)).rejects.toMatchObject(lost);
      await expect(host.openDirectEndpoint(order.snapshotId, 1)).rejects.toMatchObject(lost);
      expect((await host.observe()).snapshots).toMatchObject([
        { state: 'gone', detail: expect.stringMatching(/written or replaced/) },
      ]);
      await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
      expect(await images.leftovers()).toEqual([]);
    },
  );

  test('is lost while a VM that started after its server died still runs', async () => {
    const order = fullOrder(randomUUID());
    must(await host.takeSnapshot(order));
    await images.kill('snapshots/');
    const vm = await images.runVm('web/vdb.raw');
    await expect(host.takeSnapshot(order)).rejects.toMatchObject({ permanent: true, code: 'SnapshotLost' });
    await vm.stop();
  });

  test('is seen as lost when something that minds no lock writes below it', async () => {
    must(await host.takeSnapshot(fullOrder(randomUUID())));
    await utimes(images.path('web/vdb.raw'), new Date(), new Date());
    expect((await host.observe()).snapshots).toMatchObject([{ state: 'gone' }]);
  });

  test('that is refused for one disk has left nothing in the others', async () => {
    const vm = await images.runVm('web/vdb.raw', 'write 0 64k');
    expect(await host.takeSnapshot(fullOrder(randomUUID()))).toMatchObject({
      ok: false,
      refusal: { code: 'ImageInUse', message: expect.stringMatching(/vdb/) },
    });
    expect(await images.leftovers()).toEqual([]);
    await vm.stop();
  });

  test('cannot be given back while a VM holds the image, says so, and can later: nothing was lost', async () => {
    const first = fullOrder(randomUUID());
    const parent = restorePointOf(first.snapshotId, must(await host.takeSnapshot(first)));
    await host.releaseSnapshot(first.snapshotId, 'web', 'committed');
    const second = incrementalOrder(randomUUID(), 'web', parent);
    must(await host.takeSnapshot(second));
    await images.kill('snapshots/');
    const vm = await images.runVm('web/vda.qcow2', 'write -P 5 4M 64k');
    await expect(host.releaseSnapshot(second.snapshotId, 'web', 'discarded')).rejects.toMatchObject({
      permanent: false,
      code: 'ImageInUse',
    });
    await vm.stop();
    await host.releaseSnapshot(second.snapshotId, 'web', 'discarded');
    expect(await images.leftovers()).toEqual([
      expect.stringContaining(`bitmap backhaul-${first.snapshotId}.vda of web/vda.qcow2`),
    ]);
    const { disks } = must(await host.inspect('web', parent));
    expect(disks[0]?.tracking).toMatchObject({ state: 'usable', changed: { buckets: [0, 65_536, 0, 0] } });
  });

  test('takes itself away from the proxies that still have it', async () => {
    const order = fullOrder(randomUUID());
    must(await host.takeSnapshot(order));
    await host.activateProxy({ proxyId: 'p1', ports: 2, deadlineSeconds: 60 });
    await host.attachDisk({
      proxyId: 'p1',
      ownerId: order.snapshotId,
      diskId: 'vda',
      access: 'read-only',
    });
    await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
    expect(await host.observe()).toMatchObject({
      proxies: [{ proxyId: 'p1', state: 'alive', attachments: [] }],
      snapshots: [],
    });
    await images.guest('web/vda.qcow2', 'write 0 64k');
  });

  test('waits for its turn: a second one of the same VM is a fault that names the first', async () => {
    const first = fullOrder(randomUUID());
    must(await host.takeSnapshot(first));
    await expect(host.takeSnapshot(fullOrder(randomUUID()))).rejects.toMatchObject({
      permanent: false,
      code: 'SnapshotStands',
      message: expect.stringContaining(first.snapshotId),
    });
  });

  test('leaves an image alone that took the place of the one it froze', async () => {
    const order = fullOrder(randomUUID());
    must(await host.takeSnapshot(order));
    await images.create('web/new.qcow2', '16M');
    await images.img('bitmap', '--add', images.path('web/new.qcow2'), `backhaul-${order.snapshotId}.vda`);
    await rename(images.path('web/new.qcow2'), images.path('web/vda.qcow2'));
    await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
    expect(await images.bitmapNames('web/vda.qcow2')).toEqual([`backhaul-${order.snapshotId}.vda`]);
  });

  /** What is on disk at the moment of the kill: each is the first trace of another step. */
  const moments = ['snapshot.json', 'host.log', 'host.sock', 'host.qmp', 'host.pid.json'];
  test.each(moments)(
    'whose caller is killed when %s appears can be given back without a trace',
    async (file) => {
      const order = fullOrder(randomUUID());
      await takeElsewhere(images, order, file);
      await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
      expect(await images.leftovers()).toEqual([]);
    },
  );

  test.each(moments)('whose caller is killed when %s appears can be taken after all', async (file) => {
    const order = fullOrder(randomUUID());
    await takeElsewhere(images, order, file);
    const { disks } = must(await host.takeSnapshot(order));
    for (const disk of disks) expect((await readExport(disk.endpoint)).length).toBe(disk.sizeBytes);
    expect((await host.observe()).snapshots).toMatchObject([
      { snapshotId: order.snapshotId, state: 'alive' },
    ]);
    await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
    expect(await images.leftovers()).toEqual([]);
  });

  test('is read at the port of a proxy while its own server is dead', async () => {
    const order = fullOrder(randomUUID());
    must(await host.takeSnapshot(order));
    const { ports } = await host.activateProxy({ proxyId: 'p1', ports: 1, deadlineSeconds: 60 });
    const { exportName } = await host.attachDisk({
      proxyId: 'p1',
      ownerId: order.snapshotId,
      diskId: 'vdb',
      access: 'read-only',
    });
    await images.kill('snapshots/');
    const read = await readExport(exportUri(ports[0]?.endpoint ?? '', exportName));
    expect(read.subarray(1 << 20, 3 << 20).every((byte) => byte === 2)).toBe(true);
    await expect(images.guest('web/vdb.raw', 'write 0 64k')).rejects.toThrow(/lock/);
  });
});

/** Takes a snapshot in a process of its own, which is killed as soon as `file` is in the folder of the snapshot. */
async function takeElsewhere(images: ImageFolder, order: SnapshotOrder, file: string): Promise<void> {
  const options = {
    hostId: 'h1',
    kind: 'directory',
    address: images.folder,
    stateDirectory: dirname(images.stateFolder),
  };
  const program = `
    import { openHost } from ${JSON.stringify(new URL('../open-host.ts', import.meta.url).href)};
    const host = await openHost(${JSON.stringify(options)});
    await host.takeSnapshot(${JSON.stringify(order)});`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const trace = join(images.stateFolder, 'snapshots', order.snapshotId, file);
  try {
    await eventually(`The file ${file}`, 60_000, () => (existsSync(trace) ? true : undefined), 1);
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}

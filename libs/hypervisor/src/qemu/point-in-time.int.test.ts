/** The frozen disks of a VM that goes on writing, held against what the disks were when the guest stood still. */
import { randomUUID } from 'node:crypto';
import { connectNbd, type NbdClient } from '@backhaul/nbd';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HypervisorHost, Snapshot, SnapshotOrder } from '../host.ts';
import { incrementalOrder, must, restorePointOf } from '../host-contract.ts';
import { changedExtents, readExport } from '../testing/read-export.ts';
import { makeVmHost, type VmHost } from '../testing/vm-host.ts';

let fixture: VmHost;
let host: HypervisorHost;

beforeEach(async () => {
  fixture = await makeVmHost();
  host = await fixture.open();
});
afterEach(async () => {
  await host?.close();
  await fixture?.remove();
});

const KiB = 1024;
const fullOrder = (diskIds: readonly string[], snapshotId: string = randomUUID()): SnapshotOrder => ({
  snapshotId,
  vmId: 'web',
  disks: diskIds.map((diskId) => ({ diskId, kind: 'full', parentCheckpoint: null, parentIdentity: null })),
});
const endpointOf = (snapshot: Snapshot, diskId: string): string =>
  snapshot.disks.find((disk) => disk.diskId === diskId)?.endpoint ?? '';
const same = (a: Buffer, b: Buffer): boolean => a.equals(b);

test('a frozen disk stays as it was, whatever the guest does to it: writes, zeroes, discards', async () => {
  const base = await fixture.create('base.qcow2', '16M');
  await fixture.io(base, 'write -P 0x55 0 1M', 'write -P 0x56 6M 1M');
  const overlay = await fixture.create('vda.qcow2', '16M', '-F', 'qcow2', '-b', fixture.path('base.qcow2'));
  await fixture.io(overlay, 'write -P 0x11 0 512k', 'write -z 6M 512k', 'write -P 0x22 9M 1M');
  const raw = await fixture.create('vdb.raw', '8M');
  await fixture.io(raw, 'write -P 0x33 1M 3M');
  await fixture.start('web', [{ ...overlay, drive: 'discard=unmap' }, raw]);
  const before = [await fixture.contents('vda'), await fixture.contents('vdb')] as const;

  const snapshot = must(await host.takeSnapshot(fullOrder(['vda', 'vdb'])));
  await fixture
    .vm()
    .io(
      'vda',
      'write -P 0x45 6656k 64k',
      'write -z 7000k 300k',
      'write -z -u 100k 3k',
      'write -P 0x46 2M 1M',
      'discard 9M 256k',
      'write -z 9600k 64k',
    );
  await fixture.vm().io('vdb', 'write -z 1M 64k', 'write -z -u 2M 1M', 'write -P 0x47 5M 100k');
  for (const [index, diskId] of ['vda', 'vdb'].entries()) {
    expect(same(await readExport(endpointOf(snapshot, diskId)), before[index] as Buffer)).toBe(true);
    expect(same(await fixture.contents(diskId), before[index] as Buffer)).toBe(false);
  }
});

test('what is called zero of a frozen disk is zero, and everything else is told of', async () => {
  const disk = await fixture.create('vda.qcow2', '16M');
  await fixture.io(disk, 'write -P 0x56 6M 1M');
  await fixture.start('web', [disk]);
  const before = await fixture.contents('vda');
  const snapshot = must(await host.takeSnapshot(fullOrder(['vda'])));
  await fixture.vm().io('vda', 'write -z 6600k 300k', 'write -P 0x60 12M 64k');
  const data = await dataExtents(endpointOf(snapshot, 'vda'));
  const rebuilt = Buffer.alloc(before.length);
  for (const { offset, length } of data) before.copy(rebuilt, offset, offset, offset + length);
  expect(same(rebuilt, before)).toBe(true);
});

test('as many clients as come are served at once: QEMU would greet a hundred, and keep the next ones waiting', async () => {
  const disk = await fixture.create('vda.qcow2', '1M');
  await fixture.start('web', [disk]);
  const snapshot = must(await host.takeSnapshot(fullOrder(['vda'])));
  const clients: NbdClient[] = [];
  try {
    for (let client = 0; client < 130; client += 1)
      clients.push(await connectNbd({ uri: endpointOf(snapshot, 'vda'), connectMilliseconds: 5_000 }));
    await Promise.all(clients.map((client) => client.read(0, 512, Buffer.alloc(512))));
  } finally {
    for (const client of clients) await client.close();
  }
});

test('the guest is held while the filters of two disks go in, and not at all for one', async () => {
  const disks = [await fixture.create('vda.raw', '4M'), await fixture.create('vdb.raw', '4M')];
  await fixture.start('web', disks);
  const filters = (): Promise<number> =>
    fixture.vm().tell(async (qmp) => {
      const drives = (await qmp.execute('query-block')) as { inserted?: { drv: string } }[];
      return drives.filter((drive) => drive.inserted?.drv === 'copy-before-write').length;
    });
  const taken = async (diskIds: readonly string[]): Promise<string[]> => {
    const order = fullOrder(diskIds);
    const heard: string[] = [];
    await fixture.vm().tell(async (qmp) => {
      const hear = (event: string) =>
        qmp
          .waitForEvent(event, () => true, 60_000)
          .then(
            () => heard.push(event),
            () => undefined,
          );
      const events = [hear('STOP'), hear('RESUME')];
      must(await host.takeSnapshot(order));
      // Everything that came before this answer was heard before it.
      await qmp.execute('query-status');
      qmp.close();
      await Promise.all(events);
    });
    expect(await filters()).toBe(diskIds.length);
    await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
    return heard;
  };
  expect(await taken(['vda', 'vdb'])).toEqual(['STOP', 'RESUME']);
  expect(await taken(['vda'])).toEqual([]);
});

test('read by many while the guest overwrites it, a frozen disk is still the instant', async () => {
  const disk = await fixture.create('vda.qcow2', '16M');
  await fixture.io(disk, 'write -P 0x11 0 16M');
  await fixture.start('web', [disk]);
  const before = await fixture.contents('vda');
  const snapshot = must(await host.takeSnapshot(fullOrder(['vda'])));
  let stop = false;
  const guest = (async () => {
    for (let step = 0; !stop; step += 1) {
      const at = ((step * 37) % 256) * 64;
      await fixture
        .vm()
        .io('vda', step % 3 === 0 ? `write -z ${at}k 64k` : `write -P ${step % 250} ${at}k 4k`);
    }
  })();
  const reads = await Promise.all(Array.from({ length: 12 }, () => readExport(endpointOf(snapshot, 'vda'))));
  stop = true;
  await guest;
  expect(reads.map((read) => same(read, before))).toEqual(reads.map(() => true));
});

test('raw and qcow2 disks alike name what changed, also when the guest writes while the snapshot stands', async () => {
  const disks = [await fixture.create('vda.qcow2', '16M'), await fixture.create('vdb.raw', '8M')];
  await fixture.start('web', disks);
  const diskIds = ['vda', 'vdb'];
  const first = randomUUID();
  const full = must(await host.takeSnapshot(fullOrder(diskIds, first)));
  await fixture.vm().io('vda', 'write -P 0x31 1M 64k');
  await host.releaseSnapshot(first, 'web', 'committed');
  await fixture.vm().io('vdb', 'write -P 0x32 2M 64k');

  const order = incrementalOrder(randomUUID(), 'web', restorePointOf(first, full));
  const second = must(await host.takeSnapshot(order));
  const changedOf = (diskId: string) => {
    const disk = second.disks.find((one) => one.diskId === diskId);
    return changedExtents(disk?.endpoint ?? '', disk?.changedContext ?? '');
  };
  await fixture.vm().io('vda', 'write -P 0x33 4M 64k');
  expect(second.disks.map(({ kind }) => kind)).toEqual(['incremental', 'incremental']);
  expect(await changedOf('vda')).toEqual([{ offset: 1024 * KiB, length: 64 * KiB }]);
  expect(await changedOf('vdb')).toEqual([{ offset: 2048 * KiB, length: 64 * KiB }]);
  await host.releaseSnapshot(order.snapshotId, 'web', 'committed');

  const third = must(
    await host.takeSnapshot(incrementalOrder(randomUUID(), 'web', restorePointOf(order.snapshotId, second))),
  );
  const [vda] = third.disks;
  expect(await changedExtents(vda?.endpoint ?? '', vda?.changedContext ?? '')).toEqual([
    { offset: 4096 * KiB, length: 64 * KiB },
  ]);
});

async function dataExtents(uri: string): Promise<{ offset: number; length: number }[]> {
  const { connectNbd, STATE_ZERO } = await import('@backhaul/nbd');
  const client = await connectNbd({ uri, contexts: ['base:allocation'] });
  try {
    const data = [];
    for await (const { offset, length, flags } of client.blockStatus(
      'base:allocation',
      0,
      client.sizeBytes,
    )) {
      if ((flags & STATE_ZERO) === 0) data.push({ offset, length });
    }
    return data;
  } finally {
    await client.close();
  }
}

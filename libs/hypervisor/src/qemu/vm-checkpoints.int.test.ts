/** Every doubt about a checkpoint of a running disk means a full of that disk, and says which doubt. */
import { randomUUID } from 'node:crypto';
import { copyFile } from 'node:fs/promises';
import type { RestorePoint } from '@backhaul/contracts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HypervisorHost } from '../host.ts';
import { incrementalOrder, must, restorePointOf } from '../host-contract.ts';
import { changedExtents } from '../testing/read-export.ts';
import type { SourceDisk } from '../testing/source-vm.ts';
import { makeVmHost, type VmHost } from '../testing/vm-host.ts';

let fixture: VmHost;
let host: HypervisorHost;
let disk: SourceDisk;

beforeEach(async () => {
  fixture = await makeVmHost();
  host = await fixture.open();
});
afterEach(async () => {
  await host?.close();
  await fixture?.remove();
});

/** A VM with one disk and a committed full. */
async function backedUp(name = 'vda.qcow2', ...options: string[]): Promise<RestorePoint> {
  disk = await fixture.create(name, '8M', ...options);
  await fixture.start('web', [disk]);
  return await fullBackup();
}

async function fullBackup(): Promise<RestorePoint> {
  const snapshotId = randomUUID();
  const none = { kind: 'full', parentCheckpoint: null, parentIdentity: null } as const;
  const taken = must(
    await host.takeSnapshot({ snapshotId, vmId: 'web', disks: [{ diskId: 'vda', ...none }] }),
  );
  await host.releaseSnapshot(snapshotId, 'web', 'committed');
  return restorePointOf(snapshotId, taken);
}

/** The doubt, as an inspection has it and as a snapshot falls back by it; undefined when there is none. */
async function doubtOf(parent: RestorePoint): Promise<string | undefined> {
  const { tracking } = must(await host.inspect('web', parent)).disks[0] ?? {};
  const order = incrementalOrder(randomUUID(), 'web', parent);
  const [taken] = must(await host.takeSnapshot(order)).disks;
  await host.releaseSnapshot(order.snapshotId, 'web', 'discarded');
  if (tracking?.state !== 'unusable') {
    expect(taken).toMatchObject({ kind: 'incremental', fallbackReason: null });
    return undefined;
  }
  expect(taken).toMatchObject({ kind: 'full', fallbackReason: tracking.reason });
  return tracking.code;
}

const nodeOfDisk = (): Promise<string> =>
  fixture.vm().tell(async (qmp) => {
    const drives = (await qmp.execute('query-block')) as { inserted: { 'node-name': string } }[];
    return drives[0]?.inserted['node-name'] ?? '';
  });
const bitmapCommand = async (command: string, name: string): Promise<void> => {
  const node = await nodeOfDisk();
  await fixture.vm().tell((qmp) => qmp.execute(command, { arguments: { node, name } }));
};
const checkpointOf = (parent: RestorePoint): string => parent.disks[0]?.checkpoint ?? '';

test('a checkpoint in a qcow2 image lasts over a power-off, and tells what was written before and after', async () => {
  const parent = await backedUp();
  await fixture.vm().io('vda', 'write -P 0x31 1M 64k');
  await fixture.vm().quit();
  await fixture.start('web', [disk]);
  await fixture.vm().io('vda', 'write -P 0x32 3M 64k');
  const order = incrementalOrder(randomUUID(), 'web', parent);
  const [taken] = must(await host.takeSnapshot(order)).disks;
  expect(await changedExtents(taken?.endpoint ?? '', taken?.changedContext ?? '')).toEqual([
    { offset: 1 << 20, length: 65_536 },
    { offset: 3 << 20, length: 65_536 },
  ]);
});

test('a killed QEMU leaves its checkpoint inconsistent', async () => {
  const parent = await backedUp();
  await fixture.vm().quit();
  await fixture.start('web', [disk]);
  await fixture.vm().kill();
  await fixture.start('web', [disk]);
  expect(await doubtOf(parent)).toBe('CheckpointInconsistent');
  expect(await doubtOf(await fullBackup())).toBeUndefined();
});

test('a checkpoint that was never written to the image is gone with the QEMU that was killed', async () => {
  const parent = await backedUp();
  await fixture.vm().kill();
  await fixture.start('web', [disk]);
  expect(await doubtOf(parent)).toBe('CheckpointAbsent');
});

test.each(['vda.raw', 'vda.qcow2 of version 2'])(
  '%s keeps a checkpoint as long as its QEMU runs, and no longer',
  async (name) => {
    const parent = await backedUp(...(name === 'vda.raw' ? [name] : ['vda.qcow2', '-o', 'compat=0.10']));
    expect(await doubtOf(parent)).toBeUndefined();
    await fixture.vm().quit();
    await fixture.start('web', [disk]);
    expect(await doubtOf(parent)).toBe('CheckpointAbsent');
  },
);

test('a bitmap that was removed, disabled or is at work elsewhere is not trusted', async () => {
  const parent = await backedUp();
  await bitmapCommand('block-dirty-bitmap-disable', checkpointOf(parent));
  expect(await doubtOf(parent)).toBe('CheckpointDisabled');
  await bitmapCommand('block-dirty-bitmap-enable', checkpointOf(parent));
  await bitmapCommand('block-dirty-bitmap-remove', checkpointOf(parent));
  expect(await doubtOf(parent)).toBe('CheckpointAbsent');
});

test('an image that was replaced, rolled back or resized is not the disk that the checkpoint is of', async () => {
  disk = await fixture.create('vda.qcow2', '8M');
  const old = fixture.path('old.qcow2');
  await copyFile(disk.path, old);
  await fixture.start('web', [disk]);
  const parent = await fullBackup();
  await fixture.vm().quit();
  // Rolled back in place: same file, older contents, and the older bitmaps with them.
  await copyFile(old, disk.path);
  await fixture.start('web', [disk]);
  expect(await doubtOf(parent)).toBe('CheckpointAbsent');

  const again = await fullBackup();
  await fixture.vm().tell((qmp) =>
    qmp
      .execute('block_resize', {
        arguments: { id: '/machine/peripheral/vda', device: 'drive0', size: 12 << 20 },
      })
      .catch(() => qmp.execute('block_resize', { arguments: { device: 'drive0', size: 12 << 20 } })),
  );
  expect(await doubtOf(again)).toBe('SizeChanged');

  await fixture.vm().quit();
  await fixture.start('web', [{ ...disk, path: old }]);
  expect(await doubtOf(again)).toBe('ImageReplaced');
});

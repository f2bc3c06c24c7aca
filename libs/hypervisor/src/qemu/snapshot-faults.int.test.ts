/** Faults around a standing snapshot: each is seen, said, survived by the guest, and given back without a trace. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, hasCode, isPermanent } from '@backhaul/kernel';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HypervisorHost, SnapshotOrder } from '../host.ts';
import { must } from '../host-contract.ts';
import { readExport } from '../testing/read-export.ts';
import { makeVmHost, type VmHost } from '../testing/vm-host.ts';
import { runTool } from '../tool.ts';
import { allDisksOf } from './vm-disks.ts';
import { isListening } from './vm-folder.ts';

let fixture: VmHost;
let host: HypervisorHost;
const undo: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  fixture = await makeVmHost();
  host = await fixture.open();
});
afterEach(async () => {
  await host?.close();
  await fixture?.remove();
  for (const step of undo.splice(0).reverse()) await step();
});

const order = (diskIds: readonly string[], snapshotId: string = randomUUID()): SnapshotOrder => ({
  snapshotId,
  vmId: 'web',
  disks: diskIds.map((diskId) => ({ diskId, kind: 'full', parentCheckpoint: null, parentIdentity: null })),
});
const started = async (name: string, size = '8M') => {
  const disk = await fixture.create(name, size);
  await fixture.start('web', [disk]);
  return disk;
};

test.skipIf(process.getuid?.() !== 0)(
  'when scratch space runs out the snapshot is lost and says so; the guest writes on',
  async () => {
    const scratchDirectory = await mkdtemp(join(tmpdir(), 'bh-scratch-'));
    await runTool('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', scratchDirectory], {
      milliseconds: 10_000,
    });
    undo.push(() => rm(scratchDirectory, { recursive: true }));
    undo.push(() => runTool('umount', [scratchDirectory], { milliseconds: 10_000 }));
    await host.close();
    await fixture.remove();
    fixture = await makeVmHost({ scratchDirectory });
    host = await fixture.open();
    const disk = await fixture.create('vda.raw', '8M');
    await fixture.io(disk, 'write -P 0x11 0 8M');
    await fixture.start('web', [disk]);
    const wanted = order(['vda']);
    const snapshot = must(await host.takeSnapshot(wanted));

    expect(await fixture.vm().io('vda', 'write -P 0x22 0 8M')).toBe('');
    expect(await fixture.vm().status()).toBe('running');
    expect((await fixture.contents('vda')).equals(Buffer.alloc(8 << 20, 0x22))).toBe(true);
    await expect(readExport(snapshot.disks[0]?.endpoint ?? '')).rejects.toThrow();
    expect((await host.observe()).snapshots).toMatchObject([
      {
        state: 'gone',
        detail: expect.stringMatching(/frozen disk vda cannot be read any more.*scratch space/),
      },
    ]);
    await expect(host.takeSnapshot(wanted)).rejects.toThrow(/is lost/);
    await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
    expect(await fixture.leftovers()).toEqual([]);
    expect(await fixture.vm().io('vda', 'write -P 0x23 0 1M')).toBe('');
  },
);

test.each(['committed', 'discarded'] as const)(
  'a VM that is killed takes its snapshot with it; given back as %s, only files were left to remove',
  async (outcome) => {
    await started('vda.qcow2');
    const wanted = order(['vda']);
    must(await host.takeSnapshot(wanted));
    await fixture.vm().kill();
    expect((await host.observe()).snapshots).toEqual([
      { snapshotId: wanted.snapshotId, vmId: 'web', state: 'gone', detail: 'VM web of host h1 is gone' },
    ]);
    expect(await host.inspect('web', null)).toMatchObject({ ok: false, refusal: { code: 'VmNotRunning' } });
    await host.releaseSnapshot(wanted.snapshotId, 'web', outcome);
    expect(await fixture.leftovers()).toEqual([]);
  },
);

test('a VM that was started anew has no snapshot any more, and says so', async () => {
  const disk = await started('vda.qcow2');
  const wanted = order(['vda']);
  must(await host.takeSnapshot(wanted));
  await fixture.vm().quit();
  await fixture.start('web', [disk]);
  expect((await host.observe()).snapshots).toMatchObject([
    { state: 'gone', detail: expect.stringContaining('does not serve disk vda') },
  ]);
  await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
  expect(await fixture.leftovers()).toEqual([]);
});

test('storage that stalls costs a snapshot nothing: it is silent, not lost, and is what it was when the storage goes on', async () => {
  await host.close();
  await fixture.remove();
  fixture = await makeVmHost({ answerMilliseconds: 500 });
  host = await fixture.open();
  const image = await fixture.create('vda.raw', '4M');
  await fixture.io(image, 'write -P 0x11 0 4M');
  const socket = fixture.path('storage.sock');
  const storage = spawn('qemu-nbd', ['-t', '-f', 'raw', '-k', socket, image.path], { stdio: 'ignore' });
  undo.push(async () => storage.kill('SIGKILL'));
  await eventually('The storage', 10_000, async () => ((await isListening(socket)) ? true : undefined));
  await fixture.start('web', [{ ...image, path: `nbd+unix:///?socket=${socket}` }]);
  const wanted = order(['vda']);
  const snapshot = must(await host.takeSnapshot(wanted));

  storage.kill('SIGSTOP');
  expect((await host.observe()).snapshots).toMatchObject([
    { state: 'silent', detail: expect.stringMatching(/./) },
  ]);
  const refused = await host.openDirectEndpoint(wanted.snapshotId, 1).catch((error: unknown) => error);
  expect([hasCode(refused, 'DisksSilent'), isPermanent(refused)]).toEqual([true, false]);
  // It was taken, and its instant is the one that was told.
  expect(must(await host.takeSnapshot(wanted)).takenAt).toBe(snapshot.takenAt);

  storage.kill('SIGCONT');
  expect((await host.observe()).snapshots).toMatchObject([{ state: 'alive', detail: '' }]);
  await host.openDirectEndpoint(wanted.snapshotId, 1);
  const frozen = await readExport(snapshot.disks[0]?.endpoint ?? '');
  expect(frozen.equals(Buffer.alloc(4 << 20, 0x11))).toBe(true);
  await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
});

test.each([
  ['committed', true],
  ['discarded', true],
  ['discarded', false],
] as const)(
  'a disk that is unplugged while it is backed up is read to its end; given back (%s, with notes: %s), nothing holds its image',
  async (outcome, hasNotes) => {
    const disk = await fixture.create('vda.qcow2', '8M');
    const more = await fixture.create('more.qcow2', '4M');
    await fixture.io(more, 'write -P 0x31 0 1M');
    await fixture.start(
      'web',
      [disk],
      ...['-device', 'virtio-scsi-pci', '-drive', `if=none,id=d1,format=qcow2,file=${more.path}`],
      ...['-device', 'scsi-hd,drive=d1,id=more'],
    );
    const wanted = order(['vda', 'more']);
    const snapshot = must(await host.takeSnapshot(wanted));
    await fixture.vm().tell((qmp) => qmp.execute('device_del', { arguments: { id: 'more' } }));
    // In between, QEMU still names a device that cannot be found: giving back fails then, and is tried again.
    await eventually('The end of the device', 10_000, () =>
      fixture
        .vm()
        .tell(async (qmp) =>
          (await allDisksOf(qmp)).some(({ diskId }) => diskId === 'more') ? undefined : true,
        ),
    );
    const frozen = await readExport(snapshot.disks.find(({ diskId }) => diskId === 'more')?.endpoint ?? '');
    expect(frozen.subarray(0, 1 << 20).equals(Buffer.alloc(1 << 20, 0x31))).toBe(true);
    if (!hasNotes) await rm(join(fixture.stateFolder, 'snapshots'), { recursive: true });
    await host.releaseSnapshot(wanted.snapshotId, 'web', outcome);
    const left = outcome === 'committed' ? [expect.stringContaining('bitmap backhaul-')] : [];
    expect(await fixture.leftovers()).toEqual(left);
    // QEMU takes its lock.
    await fixture.io(more, 'write -P 0x32 0 1M');
    const { stdout } = await runTool('qemu-img', ['info', '--output=json', more.path], {
      milliseconds: 10_000,
    });
    expect(stdout.includes(wanted.snapshotId)).toBe(outcome === 'committed');
  },
);

test('a snapshot whose notes are lost is seen as a stray, and can be given back', async () => {
  await started('vda.qcow2');
  const wanted = order(['vda']);
  must(await host.takeSnapshot(wanted));
  await rm(join(fixture.stateFolder, 'snapshots'), { recursive: true });
  expect((await host.observe()).snapshots).toMatchObject([{ snapshotId: wanted.snapshotId, vmId: 'web' }]);
  await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
  expect(await fixture.leftovers()).toEqual([]);
});

test('a VM has one snapshot at a time', async () => {
  await started('vda.qcow2');
  const first = order(['vda']);
  must(await host.takeSnapshot(first));
  await expect(host.takeSnapshot(order(['vda']))).rejects.toThrow(first.snapshotId);
  expect((await host.observe()).snapshots).toMatchObject([{ snapshotId: first.snapshotId, state: 'alive' }]);
});

test('a VM is looked at while it has a snapshot, and both are right', async () => {
  const disk = await fixture.create('vda.qcow2', '8M');
  await fixture.io(disk, 'write -P 0x11 0 1M');
  await fixture.start('web', [disk]);
  const before = await fixture.contents('vda');
  const snapshot = must(await host.takeSnapshot(order(['vda'])));
  await fixture.vm().io('vda', 'write -P 0x12 4M 1M');
  const inspection = must(await host.inspect('web', null));
  expect(inspection.disks[0]?.allocated.buckets.reduce((a, b) => a + b, 0)).toBe(2 << 20);
  expect((await readExport(snapshot.disks[0]?.endpoint ?? '')).equals(before)).toBe(true);
});

test('when its NBD server belongs to somebody else the snapshot fails with that cause, and leaves nothing', async () => {
  await started('vda.qcow2');
  const addr = { type: 'unix', data: { path: fixture.path('other.nbd') } };
  await fixture.vm().tell((qmp) => qmp.execute('nbd-server-start', { arguments: { addr } }));
  await expect(host.takeSnapshot(order(['vda']))).rejects.toThrow(/in use by somebody else/);
  expect(await fixture.vm().status()).toBe('running');
  expect(await fixture.leftovers()).toEqual([]);
  // And theirs was left alone.
  expect(await isListening(addr.data.path)).toBe(true);
});

test('a disk that QEMU could not freeze without harm is refused, with the way out', async () => {
  const disk = await fixture.create('vda.raw', '8M');
  const iothread = ['-object', 'iothread,id=io0'];
  const vm = await fixture.start('web', [{ ...disk, device: 'iothread=io0' }], ...iothread);
  const refusal = { ok: false, refusal: { code: 'DiskInIothread', wayOut: expect.any(String) } };
  expect(await host.inspect('web', null)).toMatchObject(refusal);
  expect(await host.takeSnapshot(order(['vda']))).toMatchObject(refusal);
  await vm.kill();
  // One that no disk uses harms nobody.
  const idle = await fixture.start('web', [disk], ...iothread);
  must(await host.inspect('web', null));
  await idle.kill();
  await fixture.start('web', [{ ...disk, drive: 'detect-zeroes=on' }]);
  expect(await host.takeSnapshot(order(['vda']))).toMatchObject({
    ok: false,
    refusal: { code: 'DetectsZeroes' },
  });
  expect(await fixture.leftovers()).toEqual([]);
});

test('CD-ROMs and empty drives are no disks, and a device without an id has the name of its drive', async () => {
  const disk = await fixture.create('vda.raw', '8M');
  const more = await fixture.create('more.raw', '4M');
  await fixture.start(
    'web',
    [disk],
    ...['-device', 'virtio-scsi-pci', '-drive', 'if=none,id=cd0,media=cdrom', '-device', 'scsi-cd,drive=cd0'],
    ...['-drive', `if=none,id=data.1,format=raw,file=${more.path}`, '-device', 'scsi-hd,drive=data.1'],
  );
  const { disks } = must(await host.inspect('web', null));
  expect(disks.map(({ diskId, sizeBytes }) => [diskId, sizeBytes])).toEqual([
    ['data_1', 4 << 20],
    ['vda', 8 << 20],
  ]);
  must(await host.takeSnapshot(order(['data_1', 'vda'])));
});

test('two processes at one VM keep out of each other’s way: one looks while the other takes and gives back', async () => {
  await started('vda.qcow2');
  const planner = await fixture.open();
  let done = false;
  const looking = (async () => {
    let looks = 0;
    for (; !done; looks += 1) must(await planner.inspect('web', null));
    return looks;
  })();
  for (let round = 0; round < 5; round += 1) {
    const wanted = order(['vda']);
    const snapshot = must(await host.takeSnapshot(wanted));
    expect((await readExport(snapshot.disks[0]?.endpoint ?? '')).length).toBe(8 << 20);
    await host.releaseSnapshot(wanted.snapshotId, 'web', 'discarded');
  }
  done = true;
  expect(await looking).toBeGreaterThan(0);
  await planner.close();
  expect(await fixture.leftovers()).toEqual([]);
});

/** A target through crashes of its caller at every step, and among VMs that come, run or are damaged when they should not. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exportUri } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { HypervisorHost, TargetOrder } from '../host.ts';
import { must } from '../host-contract.ts';
import { type ImageFolder, makeImageFolder } from '../testing/image-folder.ts';

describe('a target of a directory host', () => {
  let images: ImageFolder;
  let host: HypervisorHost;
  beforeEach(async () => {
    images = await makeImageFolder();
    await images.create('web/disk.raw', '1M');
    await images.guest('web/disk.raw', 'write -P 1 0 1M');
    host = await images.open();
  });
  afterEach(async () => {
    await images?.remove();
  });

  /** Of one disk as the VM has that it may replace, which is told from it by its format. */
  const orderOf = (replace: boolean, vmId = 'web', diskId = 'disk'): TargetOrder => ({
    targetId: randomUUID(),
    vmId,
    disks: [{ diskId, sizeBytes: 1 * MiB, bytesToWrite: 1 * MiB }],
    replace,
    machine: { memoryMiB: 64, cpus: 1 },
  });
  const write = async (targetId: string, byte: number): Promise<void> => {
    const { ports, exportNameOf } = await host.openDirectEndpoint(targetId, 1);
    const client = await connectNbd({
      uri: exportUri(ports[0]?.endpoint ?? '', Object.values(exportNameOf)[0] ?? ''),
    });
    await client.write(0, Buffer.alloc(1 * MiB, byte));
    await client.flush();
    await client.close();
  };
  const made = async (order: TargetOrder, byte: number): Promise<TargetOrder> => {
    must(await host.createTarget(order));
    await write(order.targetId, byte);
    return order;
  };
  const keep = ({ targetId, vmId }: TargetOrder) => host.keepTarget({ targetId, vmId, start: false });
  const isFilled = async (vmId: string, diskId: string, byte: number): Promise<boolean> =>
    (await images.contentsOf(vmId, diskId)).equals(Buffer.alloc(1 * MiB, byte));
  /** A look of a caller that was killed ends by itself a moment later. */
  const nothingIsLeft = () => expect.poll(() => images.leftovers(), { timeout: 15_000 }).toEqual([]);
  /** All images there are, VMs or not. */
  const imageNames = async () =>
    (await readdir(images.folder, { recursive: true })).filter((name) => /\.(qcow2|raw)$/.test(name));

  test('that replaces a VM, and whose caller is killed before any step of the keeping, is kept when asked again', async () => {
    let moment = 0;
    for (;;) {
      const order = await made(orderOf(true), 2);
      const killed = await dyingAt(moment, images, 'keepTarget', { ...order, start: false });
      const there = await imageNames();
      expect(there.filter((name) => name.endsWith('/disk.qcow2'))).toHaveLength(1);
      if (!there.includes('web/disk.qcow2')) {
        expect(there.filter((name) => name.endsWith('/disk.raw'))).toHaveLength(1);
      }
      must(await keep(order));
      expect(await imageNames()).toEqual(['web/disk.qcow2']);
      expect(await isFilled('web', 'disk', 2)).toBe(true);
      await nothingIsLeft();
      if (!killed) break;
      moment += 1;
      await rm(images.path('web'), { recursive: true });
      await images.create('web/disk.raw', '1M');
    }
    // As many as there are files and folders that are made, renamed or removed.
    expect(moment).toBe(10);
  }, 120_000);

  test('that replaces a VM, and whose caller is killed between any two names, is discarded: one whole VM is there, the old or the new', async () => {
    const outcomes: string[] = [];
    for (const moment of [5, 6, 7]) {
      const order = await made(orderOf(true), 2);
      expect(await dyingAt(moment, images, 'keepTarget', { ...order, start: false })).toBe(true);
      await host.discardTarget(order.targetId, 'web');
      await nothingIsLeft();
      const isNew = (await imageNames()).includes('web/disk.qcow2');
      must(await host.inspect('web', null));
      outcomes.push(isNew ? 'new' : 'old');
      expect(await isFilled('web', 'disk', isNew ? 2 : 1)).toBe(true);
      if (isNew) {
        await rm(images.path('web'), { recursive: true });
        await images.create('web/disk.raw', '1M');
        await images.guest('web/disk.raw', 'write -P 1 0 1M');
      }
    }
    expect(outcomes).toEqual(['old', 'old', 'new']);
  }, 120_000);

  test('whose caller is killed while it is made is seen, is discarded without a trace, or made after all', async () => {
    for (const moment of [1, 2, 4]) {
      const order = orderOf(false, 'second');
      expect(await dyingAt(moment, images, 'createTarget', order)).toBe(true);
      expect(await host.listVms()).toEqual(['web']);
      if (moment > 1) {
        expect((await host.observe()).targets).toMatchObject([{ targetId: order.targetId, state: 'gone' }]);
      }
      if (moment === 2) {
        await made(order, 3);
        must(await keep(order));
        expect(await isFilled('second', 'disk', 3)).toBe(true);
        await rm(images.path('second'), { recursive: true });
      } else {
        await host.discardTarget(order.targetId, 'second');
      }
      await nothingIsLeft();
    }
  }, 60_000);

  test('that replaces a VM, and of whose old disks the host cannot be rid, is kept; they are seen, and go when they are discarded', async () => {
    const order = await made(orderOf(true), 2);
    expect(await dyingAt('rm', images, 'keepTarget', { ...order, start: false })).toBe(false);
    expect(await isFilled('web', 'disk', 2)).toBe(true);
    expect((await imageNames()).filter((name) => name.endsWith('/disk.raw'))).toHaveLength(1);
    expect((await host.observe()).targets).toMatchObject([{ targetId: order.targetId, vmId: 'web' }]);
    must(await keep(order));
    await host.discardTarget(order.targetId, 'web');
    await nothingIsLeft();
    expect(await imageNames()).toEqual(['web/disk.qcow2']);
    expect(await isFilled('web', 'disk', 2)).toBe(true);
  }, 60_000);

  test('stays as it is when its place was taken meanwhile: it can be written on, and kept once the place is free', async () => {
    const order = await made(orderOf(false, 'second'), 3);
    await images.create('second.raw', '1M');
    expect(await keep(order)).toMatchObject({ ok: false, refusal: { code: 'VmExists' } });
    expect((await host.observe()).targets).toMatchObject([{ targetId: order.targetId, state: 'alive' }]);
    await write(order.targetId, 4);
    await rename(images.path('second.raw'), images.path('third.raw'));
    must(await keep(order));
    expect(await isFilled('second', 'disk', 4)).toBe(true);
  });

  test('stays as it is when the VM that it replaces was started meanwhile', async () => {
    const order = await made(orderOf(true), 3);
    await images.turnOn();
    expect(await keep(order)).toMatchObject({ ok: false, refusal: { code: 'VmRunning' } });
    expect((await host.observe()).targets).toMatchObject([{ targetId: order.targetId, state: 'alive' }]);
    await images.turnOff();
    must(await keep(order));
    expect(await imageNames()).toEqual(['web/disk.qcow2']);
  });

  test('whose keeping was interrupted before any name changed looks again whether the VM that it replaces is off', async () => {
    const order = await made(orderOf(true), 3);
    // At this step the place for the old VM has been made, and nothing is in it.
    expect(await dyingAt(5, images, 'keepTarget', { ...order, start: false })).toBe(true);
    const folderAside = join(images.folder, '.backhaul-targets', order.targetId, 'replaced');
    expect(await readdir(folderAside)).toEqual([]);
    await images.turnOn();
    expect(await keep(order)).toMatchObject({ ok: false, refusal: { code: 'VmRunning' } });
    expect(await imageNames()).toContain('web/disk.raw');
    await images.turnOff();
  }, 60_000);

  test('that vanished while it was being kept is no VM, and what it was to replace comes back', async () => {
    const order = await made(orderOf(true), 3);
    const staging = join(images.folder, '.backhaul-targets', order.targetId);
    expect(await dyingAt(6, images, 'keepTarget', { ...order, start: false })).toBe(true);
    expect(await imageNames()).not.toContain('web/disk.raw');
    await rm(join(staging, 'vm'), { recursive: true });
    await expect(keep(order)).rejects.toMatchObject({ permanent: true, code: 'TargetLost' });
    await host.discardTarget(order.targetId, 'web');
    expect(await imageNames()).toEqual(['web/disk.raw']);
    expect(await isFilled('web', 'disk', 1)).toBe(true);
    await nothingIsLeft();
  }, 60_000);

  test('whose notes were lost is not made again, and goes when it is discarded', async () => {
    const order = await made(orderOf(false, 'second'), 3);
    await rm(join(images.stateFolder, 'targets'), { recursive: true });
    expect(await host.createTarget({ ...order, again: true })).toMatchObject({
      ok: false,
      refusal: { code: 'TargetLost' },
    });
    expect(await imageNames()).toHaveLength(2);
    await host.discardTarget(order.targetId, 'second');
    await nothingIsLeft();
    expect(await imageNames()).toEqual(['web/disk.raw']);
  });

  test('takes the place of a VM that is one image, and of one too damaged to be opened', async () => {
    await images.create('alone.qcow2', '1M');
    await truncate(images.path('alone.qcow2'), 70_000);
    await rm(images.path('web/disk.raw'));
    await writeFile(images.path('web/disk.qcow2'), 'no image at all');
    for (const [vmId, diskId] of [
      ['alone', 'alone'],
      ['web', 'disk'],
    ] as const) {
      must(await keep(await made(orderOf(true, vmId, diskId), 5)));
      expect(await isFilled(vmId, diskId, 5)).toBe(true);
    }
    expect((await imageNames()).sort()).toEqual(['alone/alone.qcow2', 'web/disk.qcow2']);
  });

  test('replaces nothing but a VM, and nothing that holds more than one', async () => {
    await writeFile(images.path('web/notes.txt'), 'mine');
    expect(await host.createTarget(orderOf(true))).toMatchObject({
      ok: false,
      refusal: { code: 'VmHoldsOtherFiles', message: expect.stringContaining('notes.txt') },
    });
    await writeFile(images.path('letters'), 'mine');
    expect(await host.createTarget(orderOf(true, 'letters'))).toMatchObject({
      ok: false,
      refusal: { code: 'VmExists', message: expect.stringContaining('no VM') },
    });
    expect(await host.createTarget(orderOf(true, '../elsewhere'))).toMatchObject({
      ok: false,
      refusal: { code: 'NameUnusable' },
    });
    await nothingIsLeft();
  });

  test('waits for its turn: a second one of the same VM is a fault that names the first', async () => {
    const first = await made(orderOf(false, 'second'), 1);
    await expect(host.createTarget(orderOf(false, 'second'))).rejects.toMatchObject({
      permanent: false,
      code: 'TargetStands',
      message: expect.stringContaining(first.targetId),
    });
  });

  test('leaves room for what others are still to write', async () => {
    const { freeBytes } = must(await host.inspectTarget(orderOf(false, 'second')));
    const half = Math.ceil(((freeBytes ?? 0) * 2) / 3 / 512) * 512;
    const large = { disks: [{ diskId: 'disk', sizeBytes: half, bytesToWrite: half }] };
    must(await host.createTarget({ ...orderOf(false, 'second'), ...large }));
    expect(await host.inspectTarget({ ...orderOf(false, 'third'), ...large })).toMatchObject({
      ok: false,
      refusal: { code: 'NoSpace', message: expect.stringContaining(images.folder) },
    });
  });
});

/**
 * Asks a host in a process of its own, which kills itself just before the one after `moment` of what it makes, renames or removes among
 * the images or the notes of targets. False: it got to its end before. `rm`: it lives, and its host can remove nothing there.
 */
async function dyingAt(
  moment: number | 'rm',
  images: ImageFolder,
  call: 'createTarget' | 'keepTarget',
  order: object,
): Promise<boolean> {
  const options = {
    hostId: 'h1',
    kind: 'directory',
    address: images.folder,
    stateDirectory: dirname(images.stateFolder),
  };
  const watched = [images.folder, join(images.stateFolder, 'targets')];
  const program = `
    import fs from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    let left = ${moment === 'rm' ? -1 : moment};
    const broken = ${moment === 'rm'};
    for (const name of ['mkdir', 'rename', 'rm', 'rmdir']) {
      const real = fs[name];
      fs[name] = (path, ...more) => {
        const isWatched = ${JSON.stringify(watched)}.some((folder) => path.startsWith(folder));
        if (isWatched && left-- === 0) process.kill(process.pid, 'SIGKILL');
        if (isWatched && broken && name === 'rm') return Promise.reject(Object.assign(new Error('no luck'), { code: 'EIO' }));
        return real(path, ...more);
      };
    }
    syncBuiltinESMExports();
    const { openHost } = await import(${JSON.stringify(new URL('../open-host.ts', import.meta.url).href)});
    const host = await openHost(${JSON.stringify(options)});
    const done = await host.${call}(${JSON.stringify(order)});
    if (!done.ok) throw new Error(done.refusal.message);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [exitCode, signal] = await once(child, 'exit');
  if (exitCode !== 0 && signal !== 'SIGKILL') throw new Error(`It ended by ${exitCode ?? signal}`);
  return signal === 'SIGKILL';
}

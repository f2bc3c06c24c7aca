/** A VM that runs before its disks are filled: from a mount that goes away and comes back, through its own death, to disks of its own. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildAppliance, makeBootableDisk } from '@backhaul/appliance';
import { exportUri } from '@backhaul/contracts';
import { eventually, Fault, KiB, MiB } from '@backhaul/kernel';
import { type NbdExport, type NbdServer, serveNbd } from '@backhaul/nbd';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HypervisorHost, TargetOrder } from '../host.ts';
import { must } from '../host-contract.ts';
import { withQmp } from '../qmp.ts';
import { makeRecoveringVmHost, type RecoveringVmHost } from '../testing/recovering-vm-host.ts';
import { runTool } from '../tool.ts';

await buildAppliance();
const patience = 60_000;
const vmId = 'second';
let fixture: RecoveringVmHost;
let host: HypervisorHost;
let server: NbdServer | undefined;

beforeEach(async () => {
  fixture = await makeRecoveringVmHost({});
  host = await fixture.open();
});
afterEach(async () => {
  await host?.close();
  await fixture?.remove();
  await server?.close();
});

const mounted = (name: string, contents: Buffer): NbdExport => ({
  ...{ name, sizeBytes: contents.length, readOnly: true },
  read: async (offset, length) => [contents.subarray(offset, offset + length)],
  extents: async (_, length) => [{ length, isHole: false }],
});

const orderOf = (sizes: Record<string, number>, mounts: Record<string, string>): TargetOrder => ({
  targetId: randomUUID(),
  vmId,
  disks: Object.entries(sizes).map(([diskId, sizeBytes]) => ({ diskId, sizeBytes, bytesToWrite: 0 })),
  replace: false,
  machine: { memoryMiB: 160, cpus: 1 },
  mounts,
});

const fillOf = async (targetId: string) =>
  (await host.observe()).fills.find((fill) => fill.targetId === targetId);
const filledBeyond = (targetId: string, bytes: number) =>
  eventually(`More than ${bytes} bytes filled`, patience, async () => {
    const fill = await fillOf(targetId);
    return fill?.state === 'copied' || (fill?.filledBytes ?? 0) > bytes ? fill : undefined;
  });

test('a VM boots from mounts, is filled while it runs, goes on after it was killed, and stands on its own disks at the end', async () => {
  const image = join(fixture.folder, '..', 'boot.raw');
  const line = await makeBootableDisk(image, 'from-a-mount');
  const system = await readFile(image);
  const data = Buffer.alloc(8 * MiB, 0x42);
  data.write('hello from the second disk\n');
  const serve = () =>
    serveNbd({
      exports: [mounted('system', system), mounted('data', data)],
      listen: { kind: 'unix', socketPath: join(fixture.folder, '..', 'mount.sock') },
    });
  server = await serve();
  const { uri } = server;
  const mounts = { system: exportUri(uri, 'system'), data: exportUri(uri, 'data') };
  const order = orderOf({ system: system.length, data: data.length }, mounts);
  const { targetId } = order;
  must(await host.createTarget(order));
  expect((await host.observe()).targets).toEqual([{ targetId, vmId, state: 'alive', detail: '' }]);
  const kept = must(await host.keepTarget({ targetId, vmId, start: true }));
  expect(kept).toMatchObject({ started: true, notStarted: null });
  expect(kept.acceleration?.because).toMatch(/^KVM c/);
  expect((await host.observe()).targets).toEqual([]);
  expect(await fillOf(targetId)).toMatchObject({
    state: 'stopped',
    detail: 'disk system is not being filled',
  });
  const slowly = { targetId, vmId, bytesPerSecond: 8 * MiB };
  expect(await host.fillTarget(slowly)).toMatchObject({ filled: false, totalBytes: 40 * MiB });
  await eventually('The line of the guest that booted', patience, async () =>
    (await fixture.consoleOf(vmId)).includes(`${line} second disk: hello from the second disk`)
      ? true
      : undefined,
  );

  // Its death costs nothing that was filled, and whoever asks next has it run again.
  await filledBeyond(targetId, 4 * MiB);
  for (const pid of await fixture.pidsOf(vmId)) process.kill(pid, 'SIGKILL');
  const dead = await eventually('The VM seen dead', patience, async () => {
    const fill = await fillOf(targetId);
    return fill?.state === 'stopped' ? fill : undefined;
  });
  expect(dead.detail).toMatch(/has ended/);
  await host.close();
  host = await fixture.open();
  await host.fillTarget({ ...slowly, bytesPerSecond: 16 * MiB });
  const pids = await fixture.pidsOf(vmId);

  // The mount goes away for a moment: requests wait, and nothing fails.
  const before = await filledBeyond(targetId, 8 * MiB);
  await server.close();
  expect(before?.state).toBe('filling');
  server = await serve();
  await filledBeyond(targetId, 40 * MiB);
  await expect(host.leaveTarget(targetId, vmId)).rejects.toMatchObject({ code: 'VmRunning' });
  expect(await host.fillTarget(slowly)).toMatchObject({ filled: true, filledBytes: 40 * MiB });
  expect(await host.fillTarget(slowly)).toMatchObject({ filled: true });
  expect((await host.observe()).fills).toEqual([]);
  expect(server.connections).toBe(0);
  expect(await fixture.statusOf(vmId)).toBe('running');
  expect(await fixture.pidsOf(vmId)).toEqual(pids);
  for (const [diskId, contents] of Object.entries({ system, data })) {
    const path = await fixture.defined.diskOf({ vmId, targetId }, diskId);
    const { stdout } = await runTool('qemu-img', ['info', '-U', path], { milliseconds: patience });
    expect(stdout).not.toMatch(/backing/);
    expect((await fixture.contentsOf(vmId, diskId)).equals(contents)).toBe(true);
  }
  expect((await fixture.defined.read(vmId))?.mounts).toBeUndefined();
});

test('a VM runs on when filling fails, however often it is looked at, and is filled once the mount can be read', async () => {
  const contents = Buffer.alloc(8 * MiB, 0x17);
  let damaged = true;
  const data: NbdExport = {
    ...mounted('data', contents),
    read: async (offset, length) => {
      if (damaged && offset + length > 4 * MiB) throw new Fault('damaged', { code: 'EIO' });
      return [contents.subarray(offset, offset + length)];
    },
  };
  server = await serveNbd({
    exports: [data],
    listen: { kind: 'unix', socketPath: join(fixture.folder, '..', 'mount.sock') },
  });
  const order = orderOf({ data: contents.length }, { data: exportUri(server.uri, 'data') });
  const { targetId } = order;
  must(await host.createTarget(order));
  must(await host.keepTarget({ targetId, vmId, start: true }));
  const [pid = 0] = await fixture.pidsOf(vmId);
  const asked = { targetId, vmId, bytesPerSecond: null };
  for (let round = 0; round < 3; round += 1) {
    expect(await host.fillTarget(asked)).toMatchObject({ filled: false });
    const failed = await eventually('The failure of filling', patience, async () => {
      const fill = await fillOf(targetId);
      return fill?.state === 'stopped' ? fill : undefined;
    });
    expect(failed.detail).toMatch(/filling disk data failed: its mount could not be read/);
  }
  damaged = false;
  await eventually('The end of filling', patience, async () =>
    (await host.fillTarget(asked)).filled ? true : undefined,
  );
  expect(await fixture.pidsOf(vmId)).toEqual([pid]);
  expect((await fixture.contentsOf(vmId, 'data')).equals(contents)).toBe(true);
});

test('a guest that powers itself off has its disks filled all the same, and its VM is off, and whole, when they are', async () => {
  const image = join(fixture.folder, '..', 'boot.raw');
  const line = await makeBootableDisk(image, 'and-goes', { off: true });
  const system = await readFile(image);
  server = await serveNbd({
    exports: [mounted('system', system)],
    listen: { kind: 'unix', socketPath: join(fixture.folder, '..', 'mount.sock') },
  });
  const order = orderOf({ system: system.length }, { system: exportUri(server.uri, 'system') });
  const { targetId } = order;
  must(await host.createTarget(order));
  must(await host.keepTarget({ targetId, vmId, start: true }));
  const slowly = { targetId, vmId, bytesPerSecond: 512 * KiB };
  expect(await host.fillTarget(slowly)).toMatchObject({ filled: false });
  await eventually('The guest off', patience, async () =>
    (await fixture.statusOf(vmId)) === 'shutdown' ? true : undefined,
  );
  expect(await fixture.consoleOf(vmId)).toContain(line);
  // Its process waits for its disks, and nobody takes that for a death.
  const [pid] = await fixture.pidsOf(vmId);
  const off = await fillOf(targetId);
  expect(off).toMatchObject({ state: 'filling' });
  expect(await host.fillTarget(slowly)).toMatchObject({ filled: false });
  expect(await fixture.pidsOf(vmId)).toEqual([pid]);
  await filledBeyond(targetId, off?.filledBytes ?? 0);
  await withQmp({ path: join(fixture.folder, `${vmId}.qmp`), target: vmId }, (qmp) =>
    qmp.execute('block-job-set-speed', { arguments: { device: 'fill-system', speed: 0 } }),
  );
  await filledBeyond(targetId, system.length);
  expect(await host.fillTarget(slowly)).toMatchObject({ filled: true, filledBytes: system.length });
  expect(await fixture.pidsOf(vmId)).toEqual([]);
  expect((await host.observe()).fills).toEqual([]);
  expect(await host.listVms()).not.toContain(vmId);
  expect(server.connections).toBe(0);
  expect((await fixture.contentsOf(vmId, 'system')).equals(system)).toBe(true);
  expect((await fixture.defined.read(vmId))?.mounts).toBeUndefined();
});

test('a VM that cannot be filled is left alone while its guest runs, and is over once its guest has powered itself off', async () => {
  const image = join(fixture.folder, '..', 'boot.raw');
  await makeBootableDisk(image, 'and-cannot-be-filled', { off: true });
  const system = await readFile(image);
  const data = Buffer.alloc(8 * MiB, 0x17);
  const damaged: NbdExport = {
    ...mounted('data', data),
    read: async (offset, length) => {
      if (offset + length > 4 * MiB) throw new Fault('damaged', { code: 'EIO' });
      return [data.subarray(offset, offset + length)];
    },
  };
  server = await serveNbd({
    exports: [mounted('system', system), damaged],
    listen: { kind: 'unix', socketPath: join(fixture.folder, '..', 'mount.sock') },
  });
  const mounts = { system: exportUri(server.uri, 'system'), data: exportUri(server.uri, 'data') };
  const order = orderOf({ system: system.length, data: data.length }, mounts);
  const { targetId } = order;
  must(await host.createTarget(order));
  must(await host.keepTarget({ targetId, vmId, start: true }));
  expect(await host.fillTarget({ targetId, vmId, bytesPerSecond: null })).toMatchObject({ filled: false });
  await expect(host.leaveTarget(targetId, vmId)).rejects.toMatchObject({ code: 'VmRunning' });

  await eventually('The guest off', patience, async () =>
    (await fixture.statusOf(vmId)) === 'shutdown' ? true : undefined,
  );
  expect(await fixture.pidsOf(vmId)).toHaveLength(1);
  await host.leaveTarget(targetId, vmId);
  expect(await fixture.pidsOf(vmId)).toEqual([]);
  expect((await host.observe()).fills).toEqual([]);
  expect(server.connections).toBe(0);
  // Its disks are left to a person, and still say that they are not whole.
  expect((await fixture.defined.read(vmId))?.mounts).toEqual(mounts);
  await host.leaveTarget(targetId, vmId);
});

test('a VM that cannot be started from its mounts is none: nothing is left of it, and its name is free', async () => {
  const order = orderOf({ system: 1 * MiB }, { system: 'nbd+unix:///system?socket=/nonexistent/mount.sock' });
  const before = [await fixture.leftovers(), await host.listVms()];
  must(await host.createTarget(order));
  const huge = { ...order, machine: { memoryMiB: 16 * 1024 * 1024, cpus: 1 } };
  expect(await host.keepTarget({ targetId: order.targetId, vmId, start: true })).toMatchObject({
    ok: false,
    refusal: { code: 'VmNotStarted', message: expect.stringMatching(/QEMU said: .*mount.sock/s) },
  });
  await host.discardTarget(order.targetId, vmId);
  expect([await fixture.leftovers(), await host.listVms()]).toEqual(before);
  expect(await host.inspectTarget({ ...huge, targetId: randomUUID() })).toMatchObject({
    ok: true,
    value: { instant: { available: true } },
  });
});

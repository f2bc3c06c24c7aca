/** What is a qemu host's alone of the way back: a VM that boots what was recovered, and starts that fail; and disks that outlive what wrote them. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildAppliance, makeBootableDisk } from '@backhaul/appliance';
import { exportUri } from '@backhaul/contracts';
import { eventually, KiB, MiB } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HypervisorHost, TargetOrder } from '../host.ts';
import { must } from '../host-contract.ts';
import { openHost } from '../open-host.ts';
import { readExport } from '../testing/read-export.ts';
import { makeRecoveringVmHost, type RecoveringVmHost } from '../testing/recovering-vm-host.ts';

const { directory: applianceDirectory } = await buildAppliance();
const patience = 90_000;
const vmId = 'second';
let fixture: RecoveringVmHost;
let host: HypervisorHost;

beforeEach(async () => {
  fixture = await makeRecoveringVmHost({ applianceDirectory });
  host = await fixture.open();
});
afterEach(async () => {
  await host?.close();
  await fixture?.remove();
});

const orderOf = (sizes: Record<string, number>, more: Partial<TargetOrder> = {}): TargetOrder => ({
  targetId: randomUUID(),
  vmId,
  disks: Object.entries(sizes).map(([diskId, sizeBytes]) => ({ diskId, sizeBytes, bytesToWrite: 0 })),
  replace: false,
  machine: { memoryMiB: 160, cpus: 1 },
  ...more,
});

/** As an export does it: what is zero is not written. */
async function copyTo(uri: string, contents: Buffer): Promise<void> {
  const client = await connectNbd({ uri });
  for (let at = 0; at < contents.length; at += 256 * KiB) {
    const piece = contents.subarray(at, at + 256 * KiB);
    if (piece.some((byte) => byte !== 0)) await client.write(at, piece);
  }
  await client.flush();
  await client.close();
}

test('a recovered VM boots from what was recovered, and can be backed up at once', async () => {
  // Without an appliance as well: how fast the VM runs has nothing to do with proxies.
  const reopen = async (): Promise<void> => {
    await host.close();
    host = await openHost({ ...fixture.options, applianceDirectory: undefined });
  };
  await reopen();
  const image = join(fixture.folder, '..', 'boot.raw');
  const line = await makeBootableDisk(image, 'from-a-backup');
  const system = await readFile(image);
  const data = Buffer.alloc(1 * MiB);
  data.write('hello from the second disk\n');
  // In this order, whatever the names: the machine has them as the order says.
  const order = orderOf({ system: system.length, data: data.length });
  const { disks } = must(await host.createTarget(order));
  await copyTo(disks[0]?.endpoint ?? '', system);
  await copyTo(disks[1]?.endpoint ?? '', data);
  const keep = async () => must(await host.keepTarget({ targetId: order.targetId, vmId, start: true }));
  const kept = await keep();
  expect(kept.notStarted).toBeNull();
  // What this machine can do, which need not be KVM; but it is told, and is what QEMU itself says.
  expect(kept).toEqual({
    started: true,
    notStarted: null,
    acceleration: {
      accelerator: (await fixture.hasKvm(vmId)) ? 'kvm' : 'tcg',
      because: expect.stringMatching(
        /^KVM (cannot be used|could not make a machine): |^KVM could make a machine$/,
      ),
    },
  });
  await eventually(`The line of the guest that booted`, patience, async () =>
    (await fixture.consoleOf(vmId)).includes(`${line} second disk: hello from the second disk`)
      ? true
      : undefined,
  );
  expect(await fixture.statusOf(vmId)).toBe('running');
  expect(await host.listVms()).toEqual([vmId, 'web']);

  // Found running by who comes later, and not started twice.
  await reopen();
  const pids = await fixture.pidsOf(vmId);
  // And with what it was started: it is noted, not asked for again.
  expect(await keep()).toEqual(kept);
  expect(await fixture.pidsOf(vmId)).toEqual(pids);

  const snapshotId = randomUUID();
  const full = { kind: 'full', parentCheckpoint: null, parentIdentity: null } as const;
  const snapshot = must(
    await host.takeSnapshot({
      snapshotId,
      vmId,
      disks: order.disks.map(({ diskId }) => ({ diskId, ...full })),
    }),
  );
  const frozen = await readExport(snapshot.disks.find(({ diskId }) => diskId === 'data')?.endpoint ?? '');
  expect(frozen.equals(data)).toBe(true);
  expect(snapshot.disks.every(({ checkpoint }) => checkpoint !== null)).toBe(true);
  await host.releaseSnapshot(snapshotId, vmId, 'committed');
});

test('a VM whose start fails is kept whole, with the reason; asked again, the start is tried again', async () => {
  const order = orderOf({ system: 1 * MiB }, { machine: { memoryMiB: 16 * 1024 * 1024, cpus: 1 } });
  must(await host.createTarget(order));
  for (const _ of ['first', 'again']) {
    const kept = must(await host.keepTarget({ targetId: order.targetId, vmId, start: true }));
    expect(kept).toEqual({ started: false, notStarted: expect.stringMatching(/QEMU said: .*memory/s) });
  }
  expect(await host.listVms()).toEqual(['web']);
  expect(await fixture.contentsOf(vmId, 'system')).toHaveLength(1 * MiB);
  expect(await host.inspect(vmId, null)).toMatchObject({ ok: false, refusal: { code: 'VmNotRunning' } });
  expect(await fixture.pidsOf(vmId)).toEqual([]);
  const again = orderOf({ system: 1 * MiB });
  expect(await host.inspectTarget(again)).toMatchObject({ ok: false, refusal: { code: 'VmExists' } });
});

test('a keep that was interrupted after its one step is a VM: whole where its disks are, brought to its end by any who ask', async () => {
  await fixture.turnOff();
  for (const end of ['kept again', 'discarded'] as const) {
    const old = await fixture.defined.read('web');
    const order = orderOf({ system: 1 * MiB, data: 1 * MiB, only: 1 * MiB }, { vmId: 'web', replace: true });
    const { targetId } = order;
    const { disks } = must(await host.createTarget(order));
    for (const { endpoint } of disks) await copyTo(endpoint, Buffer.alloc(1 * MiB, end.length));
    await fixture.killTargetServer(targetId);
    await fixture.defined.define({
      schema: 1,
      vmId: 'web',
      targetId,
      machine: order.machine,
      replaced: old?.disks.map(({ diskId }) => diskId) ?? [],
      disks: order.disks.map(({ diskId }) => ({ diskId })),
    });
    const definition = await fixture.defined.read('web');
    if (definition === undefined) throw new Error('There is no VM web');
    expect(await fixture.defined.diskOf(definition, 'system')).toBe(
      fixture.defined.stagedDisk('web', targetId, 'system'),
    );
    expect((await host.observe()).targets).toEqual([]);
    if (end === 'discarded') await host.discardTarget(targetId, 'web');
    else must(await host.keepTarget({ targetId, vmId: 'web', start: false }));
    for (const diskId of ['system', 'data', 'only'])
      expect((await fixture.contentsOf('web', diskId)).equals(Buffer.alloc(1 * MiB, end.length))).toBe(true);
    expect(await fixture.leftovers()).toEqual([]);
  }
});

test('what was flushed at a port is in the image, though its proxy and its server are killed at once', async () => {
  const order = orderOf({ data: 8 * MiB });
  const { targetId } = order;
  must(await host.createTarget(order));
  const proxyId = 'proxy-1';
  const { ports } = await host.activateProxy({ proxyId, ports: 2, deadlineSeconds: 60 });
  const disk = { proxyId, ownerId: targetId, diskId: 'data' };
  const { exportName } = await host.attachDisk({ ...disk, access: 'writable' });
  const uris = ports.map(({ endpoint }) => exportUri(endpoint, exportName));
  const [one, other] = [await connectNbd({ uri: uris[0] ?? '' }), await connectNbd({ uri: uris[1] ?? '' })];
  await Promise.all([
    one.write(0, Buffer.alloc(1 * MiB, 0x51)),
    other.write(4 * MiB, Buffer.alloc(512 * KiB, 0x52)),
  ]);
  await Promise.all([one.flush(), other.flush()]);
  await fixture.killTargetServer(targetId);
  await fixture.killProxy(proxyId);
  await one.close();
  await other.close();
  const image = await fixture.staged(vmId, targetId, 'data');
  expect(image.subarray(0, 1 * MiB).equals(Buffer.alloc(1 * MiB, 0x51))).toBe(true);
  expect(image.subarray(4 * MiB, 4.5 * MiB).equals(Buffer.alloc(512 * KiB, 0x52))).toBe(true);
  await host.deactivateProxy(proxyId);
  await host.discardTarget(targetId, vmId);
  expect(await fixture.leftovers()).toEqual([]);
});

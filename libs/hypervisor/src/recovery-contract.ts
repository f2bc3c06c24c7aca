/**
 * What every kind of host must keep of the way back, as tests: disks of a VM to be are made where no VM sees them, written through the
 * ports of proxies or at the host itself, and become a VM in one step, or nothing is left of them. Call it from a test file with a way
 * to make a small host of that kind with one VM. Nothing here knows what the host is made of.
 */
import { randomUUID } from 'node:crypto';
import { exportUri } from '@backhaul/contracts';
import { eventually, hasCode, KiB, MiB } from '@backhaul/kernel';
import { connectNbd, type NbdClient } from '@backhaul/nbd';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { HypervisorHost, TargetOrder } from './host.ts';
import { type HostFixture, must } from './host-contract.ts';
import { readExport } from './testing/read-export.ts';

export interface RecoveryFixture extends HostFixture {
  /** Whether a VM that was kept with `start` then runs. */
  readonly startsVms: boolean;
  /** Has the fixture's own VM run, as a guest that holds its disks, whatever it was before. */
  turnOn(): Promise<void>;
  /** Has it off, so that another can take its place. */
  turnOff(): Promise<void>;
  /** The whole disk of any VM of the host, running or not, as its guest sees it. */
  contentsOf(vmId: string, diskId: string): Promise<Buffer>;
  /** What the disk of a VM takes on its file system. */
  allocatedBytes(vmId: string, diskId: string): Promise<number>;
  /** Ends what serves the target, as a crash would. */
  killTargetServer(targetId: string): Promise<void>;
}

const NEW_VM = 'second';
const SYSTEM_BYTES = 16 * MiB;
/** No multiple of anything but a sector. */
const DATA_BYTES = 8 * MiB + 512;

export function describeRecoveryContract(kind: string, makeFixture: () => Promise<RecoveryFixture>): void {
  describe(`a host of kind ${kind} that VMs are recovered to`, () => {
    let fixture: RecoveryFixture;
    let host: HypervisorHost;
    const clients: NbdClient[] = [];
    const proxyId = 'proxy-1';

    beforeEach(async () => {
      fixture = await makeFixture();
      host = await fixture.open();
    });
    afterEach(async () => {
      for (const client of clients.splice(0)) await client.close();
      await host?.close();
      await fixture?.remove();
    });

    const connect = async (endpoint: string, exportName: string): Promise<NbdClient> => {
      const uri = exportUri(endpoint, exportName);
      const client = await connectNbd({ uri, garbledMilliseconds: 5_000, requestMilliseconds: 20_000 });
      clients.push(client);
      return client;
    };
    const activate = async (ports: number) =>
      (await host.activateProxy({ proxyId, ports, deadlineSeconds: 60 })).ports;
    const attachWritable = (targetId: string, diskId: string) =>
      host.attachDisk({ proxyId, ownerId: targetId, diskId, access: 'writable' });
    /** Writes to a disk of a target at the host itself, and has it on stable storage. */
    const writeDirectly = async (targetId: string, diskId: string, offset: number, data: Buffer) => {
      const { ports, exportNameOf } = await host.openDirectEndpoint(targetId, 1);
      const client = await connect(ports[0]?.endpoint ?? '', exportNameOf[diskId] ?? '');
      await client.write(offset, data);
      await client.flush();
      await client.close();
    };
    const attachedTo = async () => (await host.observe()).proxies.flatMap((proxy) => proxy.attachments);

    test('disks written through the ports of a proxy become a VM, byte for byte, and sparse where nothing was written', async () => {
      const before = await host.listVms();
      const order = orderOf();
      const { targetId } = order;
      expect(must(await host.inspectTarget(order)).modes['proxy-vm']).toEqual({ available: true });
      const target = must(await host.createTarget(order));
      expect(target.disks.map(({ diskId, sizeBytes }) => ({ diskId, sizeBytes }))).toEqual(
        order.disks.map(({ diskId, sizeBytes }) => ({ diskId, sizeBytes })),
      );
      const ports = await activate(2);
      const system = await attachWritable(targetId, 'system');
      const data = await attachWritable(targetId, 'data');
      const here = await connect(ports[0]?.endpoint ?? '', system.exportName);
      const there = await connect(ports[1]?.endpoint ?? '', system.exportName);
      expect([here.sizeBytes, here.readOnly, there.readOnly]).toEqual([SYSTEM_BYTES, false, false]);
      const expected = [Buffer.alloc(SYSTEM_BYTES), Buffer.alloc(DATA_BYTES)] as const;
      const write = async (client: NbdClient, contents: Buffer, offset: number, bytes: Buffer) => {
        await client.write(offset, bytes);
        bytes.copy(contents, offset);
      };
      await Promise.all([
        write(here, expected[0], 0, patterned(1, 700 * KiB)),
        write(there, expected[0], 9 * MiB, patterned(2, 300 * KiB)),
        // What is zero takes no room, however it was sent.
        write(there, expected[0], 12 * MiB, Buffer.alloc(2 * MiB)),
      ]);
      await there.flush();
      await there.close();
      const last = await connect(ports[1]?.endpoint ?? '', data.exportName);
      await write(last, expected[1], DATA_BYTES - 1536, patterned(3, 1536));
      await last.flush();
      expect(await host.listVms()).toEqual(before);

      await host.detachDisk({ proxyId, ownerId: targetId, diskId: 'system' });
      await host.detachDisk({ proxyId, ownerId: targetId, diskId: 'data' });
      await expect(here.write(0, patterned(9, 512))).rejects.toThrow();
      expect(await attachedTo()).toEqual([]);
      await host.deactivateProxy(proxyId);
      expect(await host.listVms()).toEqual(before);
      const { started, notStarted } = must(await host.keepTarget({ targetId, vmId: NEW_VM, start: true }));
      expect(started).toBe(fixture.startsVms);
      expect(notStarted === null).toBe(started);

      expect(await host.listVms()).toEqual([...before, NEW_VM].sort());
      const { disks } = must(await host.inspect(NEW_VM, null));
      expect(disks.map(({ diskId, sizeBytes }) => [diskId, sizeBytes]).sort()).toEqual([
        ['data', DATA_BYTES],
        ['system', SYSTEM_BYTES],
      ]);
      expect(sameBytes(await fixture.contentsOf(NEW_VM, 'system'), expected[0])).toBe(true);
      expect(sameBytes(await fixture.contentsOf(NEW_VM, 'data'), expected[1])).toBe(true);
      expect(await fixture.allocatedBytes(NEW_VM, 'system')).toBeLessThan(2 * MiB);
      expect(must(await host.keepTarget({ targetId, vmId: NEW_VM, start: true })).started).toBe(started);
      expect((await host.observe()).targets).toEqual([]);
      await host.discardTarget(targetId, NEW_VM);
      expect(await host.listVms()).toContain(NEW_VM);
      expect(sameBytes(await fixture.contentsOf(NEW_VM, 'data'), expected[1])).toBe(true);
    });

    test('one proxy serves the backup of a VM and a recovery at once: the one is read, the other written', async () => {
      const [disk] = must(await host.inspect(fixture.vmId, null)).disks;
      const frozenDiskId = disk?.diskId ?? '';
      const contents = await fixture.contents(frozenDiskId);
      const snapshotId = randomUUID();
      const full = {
        diskId: frozenDiskId,
        kind: 'full',
        parentCheckpoint: null,
        parentIdentity: null,
      } as const;
      must(await host.takeSnapshot({ snapshotId, vmId: fixture.vmId, disks: [full] }));
      const order = orderOf();
      must(await host.createTarget(order));
      const ports = await activate(2);
      const frozen = { proxyId, ownerId: snapshotId, diskId: frozenDiskId };
      const { exportName } = await host.attachDisk({ ...frozen, access: 'read-only' });
      const writable = await attachWritable(order.targetId, 'data');
      expect(new Set(await attachedTo())).toEqual(
        new Set([
          { ownerId: snapshotId, diskId: frozenDiskId },
          { ownerId: order.targetId, diskId: 'data' },
        ]),
      );

      const reading = await connect(ports[0]?.endpoint ?? '', exportName);
      const writing = await connect(ports[1]?.endpoint ?? '', writable.exportName);
      const read = Buffer.alloc(contents.length);
      await Promise.all([reading.read(0, read.length, read), writing.write(1 * MiB, patterned(4, 1 * MiB))]);
      await writing.flush();
      expect(sameBytes(read, contents)).toBe(true);
      expect(reading.readOnly).toBe(true);
      await expect(reading.write(0, Buffer.alloc(512, 1))).rejects.toThrow();
      await expect(host.attachDisk({ ...frozen, access: 'writable' })).rejects.toMatchObject({
        code: 'TargetUnknown',
      });

      for (const client of clients.splice(0)) await client.close();
      await host.deactivateProxy(proxyId);
      await host.releaseSnapshot(snapshotId, fixture.vmId, 'discarded');
      const endpoint = must(await host.createTarget(order)).disks.find(({ diskId }) => diskId === 'data');
      const back = await readExport(endpoint?.endpoint ?? '');
      expect(sameBytes(back.subarray(1 * MiB, 2 * MiB), patterned(4, 1 * MiB))).toBe(true);
    });

    test('asked again for the same, also after a restart of the caller, it finds what is there; discarded, nothing is left', async () => {
      const order = orderOf();
      const before = await fixture.leftovers();
      const vms = await host.listVms();
      const target = must(await host.createTarget(order));
      const made = await fixture.leftovers();
      const [again, andAgain] = await Promise.all([host.createTarget(order), host.createTarget(order)]);
      expect([must(again), must(andAgain)]).toEqual([target, target]);
      expect(await fixture.leftovers()).toEqual(made);

      await host.close();
      host = await fixture.open();
      const { targetId } = order;
      expect((await host.observe()).targets).toEqual([
        { targetId, vmId: NEW_VM, state: 'alive', detail: '' },
      ]);
      expect(must(await host.createTarget(order))).toEqual(target);
      await writeDirectly(targetId, 'system', 0, patterned(5, 64 * KiB));
      await host.discardTarget(targetId, NEW_VM);
      await host.discardTarget(targetId, NEW_VM);
      expect((await host.observe()).targets).toEqual([]);
      expect(await fixture.leftovers()).toEqual(before);
      expect(await host.listVms()).toEqual(vms);
    });

    test('whatever served a target may die: what was flushed is served again, and no port confirms what was lost', async () => {
      const order = orderOf();
      const { targetId } = order;
      must(await host.createTarget(order));
      await writeDirectly(targetId, 'data', 2 * MiB, patterned(6, 200 * KiB));
      const [port] = await activate(1);
      const attached = await attachWritable(targetId, 'data');
      const stale = await connect(port?.endpoint ?? '', attached.exportName);
      await stale.write(4 * MiB, patterned(7, 64 * KiB));

      await fixture.killTargetServer(targetId);
      expect((await host.observe()).targets).toMatchObject([
        { targetId, state: 'gone', detail: expect.stringMatching(/./) },
      ]);
      const [, data] = must(await host.createTarget({ ...order, again: true })).disks;
      expect((await host.observe()).targets).toMatchObject([{ targetId, state: 'alive' }]);
      const contents = await readExport(data?.endpoint ?? '');
      expect(sameBytes(contents.subarray(2 * MiB, 2 * MiB + 200 * KiB), patterned(6, 200 * KiB))).toBe(true);
      // However often it is asked: QEMU's client fails a few times, and has connected to the new server then.
      const flush = () =>
        stale.flush().then(
          () => 'confirmed',
          (error) => (hasCode(error, 'ConnectionLost', 'TimedOut') ? 'cut off' : undefined),
        );
      expect(await eventually('An end', 3000, flush).catch(() => 'fails on')).not.toBe('confirmed');
      await stale.close();

      // Attached anew it is written through again.
      await host.detachDisk({ proxyId, ownerId: targetId, diskId: 'data' });
      const { exportName } = await attachWritable(targetId, 'data');
      const fresh = await connect(port?.endpoint ?? '', exportName);
      await fresh.write(4 * MiB, patterned(8, 64 * KiB));
      await fresh.flush();
      const after = await readExport(data?.endpoint ?? '');
      expect(sameBytes(after.subarray(4 * MiB, 4 * MiB + 64 * KiB), patterned(8, 64 * KiB))).toBe(true);
    });

    test('what cannot be is refused before anything is made, with its reason and a way out', async () => {
      await fixture.turnOn();
      const { vmId } = fixture;
      const before = await fixture.leftovers();
      const big = { diskId: 'huge', sizeBytes: 1024 ** 5, bytesToWrite: 1024 ** 5 };
      const odd = { diskId: 'odd', sizeBytes: 1000, bytesToWrite: 0 };
      const cases = [
        [{ ...orderOf(), vmId }, 'VmExists', vmId],
        [{ ...orderOf(), vmId, replace: true }, 'VmRunning', vmId],
        [{ ...orderOf(), disks: [big] }, 'NoSpace', ''],
        [{ ...orderOf(), disks: [odd] }, 'UnsupportedDisk', 'odd'],
      ] as const;
      for (const [order, code, named] of cases) {
        for (const refused of [await host.inspectTarget(order), await host.createTarget(order)]) {
          expect(refused).toMatchObject({
            ok: false,
            refusal: { code, message: expect.stringContaining(named), wayOut: expect.stringMatching(/./) },
          });
        }
      }
      expect(await fixture.leftovers()).toEqual(before);
    });

    test('a VM that is replaced stays as it is until the new one is kept, and is gone then', async () => {
      const { vmId } = fixture;
      const oldDiskIds = must(await host.inspect(vmId, null)).disks.map(({ diskId }) => diskId);
      await fixture.turnOff();
      const old = new Map<string, Buffer>();
      for (const diskId of oldDiskIds) old.set(diskId, await fixture.contentsOf(vmId, diskId));
      const disk = (diskId: string) => ({ diskId, sizeBytes: 4 * MiB, bytesToWrite: 4 * MiB });
      const partly = { ...orderOf(), vmId, replace: true, disks: [disk('only')] };
      expect(await host.createTarget(partly)).toMatchObject({
        ok: false,
        refusal: { code: 'ReplaceWouldDropDisks', message: expect.stringContaining(oldDiskIds[0] ?? '') },
      });
      const order = { ...partly, targetId: randomUUID(), disks: [...oldDiskIds.map(disk), disk('only')] };
      const { targetId } = order;
      must(await host.createTarget(order));
      await writeDirectly(targetId, 'only', 0, patterned(9, 4 * MiB));
      for (const [diskId, contents] of old)
        expect(sameBytes(await fixture.contentsOf(vmId, diskId), contents)).toBe(true);

      const kept = must(await host.keepTarget({ targetId, vmId, start: false }));
      expect(kept).toEqual({ started: false, notStarted: null });
      expect(must(await host.keepTarget({ targetId, vmId, start: false }))).toEqual(kept);
      expect(sameBytes(await fixture.contentsOf(vmId, 'only'), patterned(9, 4 * MiB))).toBe(true);
      for (const diskId of oldDiskIds)
        expect(sameBytes(await fixture.contentsOf(vmId, diskId), Buffer.alloc(4 * MiB))).toBe(true);
      expect((await host.observe()).targets).toEqual([]);
    });

    test('giving back what is not there is success; keeping it, or writing to it, is a fault that names it, and it is never made again', async () => {
      const targetId = randomUUID();
      await host.discardTarget(targetId, NEW_VM);
      await host.discardTarget(targetId, fixture.vmId);
      expect(await host.listVms()).toContain(fixture.vmId);
      // What was written to them is not written twice: empty disks in their place would be kept for whole ones.
      expect(await host.createTarget({ ...orderOf(), targetId, again: true })).toMatchObject({
        ok: false,
        refusal: { code: 'TargetLost', message: expect.stringContaining(targetId) },
      });
      expect((await host.observe()).targets).toEqual([]);
      const unknown = { code: 'TargetUnknown', message: expect.stringContaining(targetId) };
      await expect(host.keepTarget({ targetId, vmId: NEW_VM, start: false })).rejects.toMatchObject(unknown);
      await expect(attachWritable(targetId, 'system')).rejects.toMatchObject(unknown);
    });
  });
}

const orderOf = (): TargetOrder => ({
  targetId: randomUUID(),
  vmId: NEW_VM,
  disks: [
    { diskId: 'system', sizeBytes: SYSTEM_BYTES, bytesToWrite: 1 * MiB },
    { diskId: 'data', sizeBytes: DATA_BYTES, bytesToWrite: 1 * MiB },
  ],
  replace: false,
  machine: { memoryMiB: 64, cpus: 1 },
});

/** Bytes that tell where they belong: never zero, and different for every `seed`. */
function patterned(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let index = 0; index < length; index += 1)
    bytes[index] = 1 + ((index * 31 + (index >> 9) + seed * 67) % 255);
  return bytes;
}

/** Compared as a whole: a failing comparison of megabytes must not be printed byte by byte. */
const sameBytes = (a: Buffer, b: Buffer): boolean => a.equals(b);

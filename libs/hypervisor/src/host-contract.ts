/**
 * What every kind of host must keep, as tests: call it from a test file with a way to make a small host of that kind
 * with one VM that has at least one disk. Nothing here knows what the host is made of. The way back is in `recovery-contract.ts`.
 */
import { randomUUID } from 'node:crypto';
import { exportUri, healthReadings, type Inspection, type RestorePoint } from '@backhaul/contracts';
import { eventually, type Result, totalLength } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { HypervisorHost, Snapshot, SnapshotOrder } from './host.ts';
import { changedExtents, readExport } from './testing/read-export.ts';

export interface HostFixture {
  readonly vmId: string;
  /** The build that its proxies are booted from, where they are VMs. */
  readonly appliance?: string;
  /** A new object over the same host and the same state: what a restarted caller has. */
  open(): Promise<HypervisorHost>;
  /** The whole disk, as the guest sees it. Not while a snapshot stands. */
  contents(diskId: string): Promise<Buffer>;
  /** Writes as the guest would. Not while a snapshot stands. */
  write(diskId: string, offset: number, data: Buffer): Promise<void>;
  /** Ends the proxy as a crash would. */
  killProxy(proxyId: string): Promise<void>;
  /** Everything that is there of proxies and snapshots: processes, files, checkpoints. Empty when all was given back. */
  leftovers(): Promise<string[]>;
  remove(): Promise<void>;
}

export function describeHostContract(kind: string, makeFixture: () => Promise<HostFixture>): void {
  describe(`a host of kind ${kind}`, () => {
    let fixture: HostFixture;
    let host: HypervisorHost;
    let diskIds: string[];
    const proxyId = 'proxy-1';

    beforeAll(async () => {
      fixture = await makeFixture();
      host = await fixture.open();
      diskIds = (await inspected(host, fixture.vmId)).disks.map((disk) => disk.diskId);
    });
    // Each test takes its own snapshot and finds nothing attached. A proxy stays up for the next, because one may be a VM that boots.
    afterEach(async () => {
      const { proxies, snapshots } = await host.observe();
      for (const { attachments } of proxies)
        for (const attachment of attachments) await host.detachDisk({ proxyId, ...attachment });
      for (const { snapshotId, vmId } of snapshots) await host.releaseSnapshot(snapshotId, vmId, 'discarded');
    });
    afterAll(async () => {
      await host?.close();
      await fixture?.remove();
    });

    const contentsOfAll = async (): Promise<Buffer[]> => {
      const all: Buffer[] = [];
      for (const diskId of diskIds) all.push(await fixture.contents(diskId));
      return all;
    };
    const fullOrder = (snapshotId: string): SnapshotOrder => ({
      snapshotId,
      vmId: fixture.vmId,
      disks: diskIds.map((diskId) => ({
        diskId,
        kind: 'full',
        parentCheckpoint: null,
        parentIdentity: null,
      })),
    });
    const readOnly = (snapshotId: string) =>
      ({ proxyId, ownerId: snapshotId, diskId: diskIds[0] ?? '', access: 'read-only' }) as const;
    const activate = async () => (await host.activateProxy({ proxyId, ports: 2, deadlineSeconds: 60 })).ports;

    test('a VM is inspected: its disks, their sizes, and where data lies', async () => {
      expect(await host.listVms()).toContain(fixture.vmId);
      const { disks, modes } = await inspected(host, fixture.vmId);
      for (const disk of disks) {
        expect(disk.sizeBytes).toBe((await fixture.contents(disk.diskId)).length);
        expect(disk.allocated.buckets.length).toBeLessThanOrEqual(256);
        expect(disk.tracking).toMatchObject({ state: 'unusable', code: 'NoParent' });
      }
      expect(modes['proxy-vm']).toEqual({ available: true });
    });

    test('an unknown VM is refused, and the refusal names those that are there', async () => {
      const refused = await host.inspect('nobody', null);
      expect(refused).toMatchObject({ ok: false, refusal: { code: 'VmUnknown' } });
      expect(!refused.ok && refused.refusal.message).toContain(fixture.vmId);
      expect(await host.takeSnapshot({ ...fullOrder(randomUUID()), vmId: 'nobody' })).toMatchObject({
        ok: false,
        refusal: { code: 'VmUnknown' },
      });
    });

    test('giving back what is not there is success', async () => {
      await host.detachDisk({ proxyId, ownerId: randomUUID(), diskId: 'vda' });
      await host.deactivateProxy(proxyId);
      await host.releaseSnapshot(randomUUID(), fixture.vmId, 'committed');
      await host.releaseSnapshot(randomUUID(), 'nobody', 'discarded');
      expect(await fixture.leftovers()).toEqual([]);
    });

    test('two callers of one process, at the same moment, get one proxy and one snapshot', async () => {
      const order = fullOrder(randomUUID());
      const [one, other] = await Promise.all([host.takeSnapshot(order), host.takeSnapshot(order)]);
      expect(must(one)).toEqual(must(other));
      const [here, there] = await Promise.all([activate(), activate()]);
      expect(here).toEqual(there);
    });

    test('every disk reads the same as its image: at each port, and at the host itself', async () => {
      const before = await contentsOfAll();
      const snapshotId = randomUUID();
      const snapshot = must(await host.takeSnapshot(fullOrder(snapshotId)));
      const ports = await activate();
      const direct = await host.openDirectEndpoint(snapshotId, 2);
      expect(direct.ports.map((port) => port.port)).toEqual([0, 1]);
      for (const [index, diskId] of diskIds.entries()) {
        const { exportName } = await host.attachDisk({
          proxyId,
          ownerId: snapshotId,
          diskId,
          access: 'read-only',
        });
        const uris = [
          ...ports.map((port) => exportUri(port.endpoint, exportName)),
          ...direct.ports.map((port) => exportUri(port.endpoint, direct.exportNameOf[diskId] ?? '')),
          endpointOf(snapshot, diskId),
        ];
        for (const uri of uris) expect(sameBytes(await readExport(uri), before[index])).toBe(true);
      }
    });

    test('a port serves one client: the next one is refused or waits until the first has gone', async () => {
      const snapshotId = randomUUID();
      must(await host.takeSnapshot(fullOrder(snapshotId)));
      const [port] = await activate();
      const { exportName } = await host.attachDisk(readOnly(snapshotId));
      const uri = exportUri(port?.endpoint ?? '', exportName);
      const first = await connectNbd({ uri });
      await expect(connectNbd({ uri, connectMilliseconds: 300 })).rejects.toThrow();
      await first.read(0, 512, Buffer.alloc(512));
      await first.close();
      const second = await eventually('The port being free again', 20_000, () =>
        connectNbd({ uri, connectMilliseconds: 2000 }).catch(() => undefined),
      );
      await second.close();
    });

    test('asked again for the same, it finds what is there and makes no second one', async () => {
      const snapshotId = randomUUID();
      const order = fullOrder(snapshotId);
      const snapshot = must(await host.takeSnapshot(order));
      const ports = await activate();
      const attachment = readOnly(snapshotId);
      const attached = await host.attachDisk(attachment);
      const before = await fixture.leftovers();

      expect(must(await host.takeSnapshot(order))).toEqual(snapshot);
      expect(await activate()).toEqual(ports);
      expect(await host.attachDisk(attachment)).toEqual(attached);
      expect(await fixture.leftovers()).toEqual(before);
    });

    test('a caller that was restarted finds everything, and can go on and give it back', async () => {
      const snapshotId = randomUUID();
      const snapshot = must(await host.takeSnapshot(fullOrder(snapshotId)));
      const ports = await activate();
      const attachment = readOnly(snapshotId);
      const { exportName } = await host.attachDisk(attachment);
      await host.close();

      host = await fixture.open();
      const seen = await host.observe();
      expect(seen).toEqual({
        appliance: fixture.appliance,
        proxies: [
          {
            proxyId,
            state: 'alive',
            detail: '',
            attachments: [attachedDisk(attachment)],
            readings: expect.any(Array),
          },
        ],
        snapshots: [{ snapshotId, vmId: fixture.vmId, state: 'alive', detail: '' }],
        targets: [],
        fills: [],
      });
      // Whatever is measured of it is something that the pool knows how to judge.
      const known = Object.values(healthReadings).map(({ name, unit }) => `${name} ${unit}`);
      for (const { name, value, unit } of seen.proxies[0]?.readings ?? []) {
        expect(known).toContain(`${name} ${unit}`);
        expect(value).toBeGreaterThanOrEqual(0);
      }
      expect(must(await host.takeSnapshot(fullOrder(snapshotId)))).toEqual(snapshot);
      const uri = exportUri(ports[0]?.endpoint ?? '', exportName);
      expect((await readExport(uri)).length).toBe(snapshot.disks[0]?.sizeBytes);
      await host.detachDisk(attachment);
      await host.deactivateProxy(proxyId);
      await host.releaseSnapshot(snapshotId, fixture.vmId, 'discarded');
      expect(await fixture.leftovers()).toEqual([]);
    });

    test('a detached disk is served no more, and a client that still reads it is told', async () => {
      const snapshotId = randomUUID();
      must(await host.takeSnapshot(fullOrder(snapshotId)));
      const [port] = await activate();
      const attachment = readOnly(snapshotId);
      const uri = exportUri(port?.endpoint ?? '', (await host.attachDisk(attachment)).exportName);
      const client = await connectNbd({ uri, requestMilliseconds: 5000 });
      await host.detachDisk(attachment);
      await expect(client.read(0, 512, Buffer.alloc(512))).rejects.toThrow();
      await client.close();
      await expect(connectNbd({ uri, connectMilliseconds: 2000 })).rejects.toThrow();
      expect((await host.observe()).proxies).toMatchObject([{ state: 'alive', attachments: [] }]);
      expect((await host.attachDisk(attachment)).exportName).not.toBe('');
      expect((await readExport(uri)).length).toBeGreaterThan(0);
    });

    test('a proxy that was killed is seen, said why, and can be ended and activated anew', async () => {
      const snapshotId = randomUUID();
      must(await host.takeSnapshot(fullOrder(snapshotId)));
      await activate();
      const attachment = readOnly(snapshotId);
      await host.attachDisk(attachment);
      await fixture.killProxy(proxyId);

      // While its process dies it does not answer, and is not known to be gone yet.
      const seen = await eventually('Its end', 30_000, async () => {
        const [proxy] = (await host.observe()).proxies;
        expect(proxy?.state).not.toBe('alive');
        return proxy?.state === 'gone' ? proxy : undefined;
      });
      expect(seen).toMatchObject({ proxyId, attachments: [], readings: [] });
      expect(seen.detail).not.toBe('');
      await expect(host.attachDisk(attachment)).rejects.toThrow(proxyId);
      await host.detachDisk(attachment);
      await host.deactivateProxy(proxyId);
      expect((await host.observe()).proxies).toEqual([]);
      const [port] = await activate();
      const { exportName } = await host.attachDisk(attachment);
      expect((await readExport(exportUri(port?.endpoint ?? '', exportName))).length).toBeGreaterThan(0);
    });

    test('attaching to no proxy, or from no snapshot, is a fault that names it', async () => {
      const snapshotId = randomUUID();
      await activate();
      const disk = readOnly(snapshotId);
      await expect(host.attachDisk(disk)).rejects.toThrow(snapshotId);
      must(await host.takeSnapshot(fullOrder(snapshotId)));
      await expect(host.attachDisk({ ...disk, proxyId: 'nobody' })).rejects.toThrow('nobody');
    });

    test('a discarded snapshot leaves the disks as they were, and nothing else', async () => {
      const before = await contentsOfAll();
      const snapshotId = randomUUID();
      must(await host.takeSnapshot(fullOrder(snapshotId)));
      await activate();
      await host.attachDisk(readOnly(snapshotId));
      await host.deactivateProxy(proxyId);
      await host.releaseSnapshot(snapshotId, fixture.vmId, 'discarded');
      await host.releaseSnapshot(snapshotId, fixture.vmId, 'discarded');
      expect(await fixture.leftovers()).toEqual([]);
      const after = await contentsOfAll();
      expect(after.map((disk, index) => sameBytes(disk, before[index]))).toEqual(after.map(() => true));
    });

    test('an incremental names at least what was written, until it is committed', async () => {
      const first = randomUUID();
      const full = must(await host.takeSnapshot(fullOrder(first)));
      await host.releaseSnapshot(first, fixture.vmId, 'committed');
      const diskId = full.disks.find((disk) => disk.checkpoint !== null)?.diskId;
      if (diskId === undefined) throw new Error('The VM of the fixture needs a disk with change tracking');
      const old = await fixture.contents(diskId);
      const written = Buffer.alloc(100_000, 0xa5);
      await fixture.write(diskId, 1_500_000, written);
      const parent = restorePointOf(first, full);

      const { tracking } = diskOf(await inspected(host, fixture.vmId, parent), diskId);
      const estimate = tracking.state === 'usable' ? totalOf(tracking.changed.buckets) : -1;
      // Twice: what is discarded is asked for again and must be whole.
      for (const outcome of ['discarded', 'committed'] as const) {
        const order = incrementalOrder(randomUUID(), fixture.vmId, parent);
        const snapshot = must(await host.takeSnapshot(order));
        const disk = snapshot.disks.find((one) => one.diskId === diskId);
        expect(disk).toMatchObject({ kind: 'incremental', fallbackReason: null });
        const changed = await changedExtents(disk?.endpoint ?? '', disk?.changedContext ?? '');
        expect(totalLength(changed)).toBe(estimate);
        const now = await readExport(disk?.endpoint ?? '');
        const rebuilt = Buffer.from(old);
        for (const { offset, length } of changed) now.copy(rebuilt, offset, offset, offset + length);
        expect(sameBytes(rebuilt, now)).toBe(true);
        expect(now.subarray(1_500_000, 1_600_000).equals(written)).toBe(true);
        await host.releaseSnapshot(order.snapshotId, fixture.vmId, outcome);
      }
      const after = diskOf(await inspected(host, fixture.vmId, parent), diskId);
      expect(after.tracking).toMatchObject({ state: 'unusable', code: 'CheckpointAbsent' });
    });
  });
}

export function must<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`Refused: ${result.refusal.code}: ${result.refusal.message}`);
  return result.value;
}

const inspected = async (
  host: HypervisorHost,
  vmId: string,
  parent: RestorePoint | null = null,
): Promise<Inspection> => must(await host.inspect(vmId, parent));

function diskOf(inspection: Inspection, diskId: string): Inspection['disks'][number] {
  const disk = inspection.disks.find((one) => one.diskId === diskId);
  if (disk === undefined) throw new Error(`Disk ${diskId} was not inspected`);
  return disk;
}

const endpointOf = (snapshot: Snapshot, diskId: string): string =>
  snapshot.disks.find((disk) => disk.diskId === diskId)?.endpoint ?? '';

/** What a completed backup of this snapshot leaves for the next one. */
export const restorePointOf = (backupId: string, snapshot: Snapshot): RestorePoint => ({
  backupId,
  manifestDigest: '0'.repeat(64),
  takenAt: snapshot.takenAt,
  disks: snapshot.disks.map(({ diskId, sizeBytes, identity, checkpoint }) => ({
    diskId,
    sizeBytes,
    identity,
    checkpoint,
  })),
});

export const incrementalOrder = (snapshotId: string, vmId: string, parent: RestorePoint): SnapshotOrder => ({
  snapshotId,
  vmId,
  disks: parent.disks.map((disk) => ({
    diskId: disk.diskId,
    kind: disk.checkpoint === null ? 'full' : 'incremental',
    parentCheckpoint: disk.checkpoint,
    parentIdentity: disk.identity,
  })),
});

const attachedDisk = ({ ownerId, diskId }: { ownerId: string; diskId: string }) => ({ ownerId, diskId });
/** Compared as a whole: a failing comparison of megabytes must not be printed byte by byte. */
const sameBytes = (a: Buffer, b: Buffer | undefined): boolean => b !== undefined && a.equals(b);
const totalOf = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultApplianceDirectory } from '@backhaul/appliance';
import { exportUri, healthReadings, type Port } from '@backhaul/contracts';
import { describeError, eventually, isPermanent, KiB, MiB } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readExport } from '../../testing/read-export.ts';
import type { QemuProxies } from './proxies.ts';
import { makeProxyLab, type ProxyLab, type TestSource } from './testing/proxy-lab.ts';

const patience = 60_000;
const sameBytes = (a: Buffer, b: Buffer): boolean => a.equals(b);
let lab: ProxyLab;
let proxies: QemuProxies;

beforeAll(async () => {
  lab = await makeProxyLab();
  proxies = await lab.open();
});
afterAll(async () => {
  await lab?.remove();
});

const observed = async (proxyId: string) => {
  const found = (await proxies.observe()).find((one) => one.proxy.proxyId === proxyId);
  if (found === undefined) throw new Error(`${proxyId} is not observed`);
  return found;
};

const readingOf = (
  { readings }: Awaited<ReturnType<typeof observed>>['proxy'],
  of: keyof typeof healthReadings,
): number | undefined => readings.find(({ name }) => name === healthReadings[of].name)?.value;

describe('a proxy VM that runs', () => {
  const proxyId = 'p1-0a0b0c0d';
  const order = { proxyId, ports: 2, deadlineSeconds: 60 };
  const disk = (diskId: string) => ({ proxyId, ownerId: 'backup-1', diskId });
  let ports: Port[];
  let source: TestSource;
  const uriAt = (port: number, exportName: string) => exportUri(ports[port]?.endpoint ?? '', exportName);

  const expectFree = (port: number) =>
    eventually('The port being free again', patience, async () =>
      (await observed(proxyId)).health?.ports[port]?.open === false ? true : undefined,
    );

  beforeAll(async () => {
    source = await lab.makeSource(8 * MiB);
    const activated = await proxies.activate(order);
    ports = activated.ports;
    expect(activated.characteristics).toMatchObject({
      sessionsMax: 29,
      memoryBytes: 136 * MiB,
      processors: 2,
    });
    expect(activated.characteristics.appliance).toMatch(/^[0-9a-f]{8}\.[0-9a-f]{8}$/);
  }, patience);

  test('is ready with its ports, empty, and says how it is', async () => {
    const { proxy, health, accelerator } = await observed(proxyId);
    expect(proxy).toMatchObject({ proxyId, state: 'alive', detail: '', attachments: [] });
    expect(proxy.readings.map(({ name }) => name)).toEqual(
      Object.values(healthReadings).map(({ name }) => name),
    );
    expect(readingOf(proxy, 'memoryAvailable')).toBeGreaterThan(25);
    expect([readingOf(proxy, 'serverCrashes'), readingOf(proxy, 'portsFailed')]).toEqual([0, 0]);
    expect(health?.ports).toEqual([0, 1].map((port) => ({ port, open: false, sessions: 0 })));
    expect(health?.memoryAvailableBytes).toBeGreaterThan(32 * MiB);
    expect(health?.errors).toEqual([]);
    expect(['kvm', 'tcg']).toContain(accelerator);
    expect(ports.map(({ port }) => port)).toEqual([0, 1]);
  });

  test('serves two disks at both ports, every byte as it is at the source, and read-only', async () => {
    const other = await lab.makeSource(3 * MiB + 512);
    const attached = [
      { source, ...(await proxies.attach({ ...disk('vda'), source })) },
      { source: other, ...(await proxies.attach({ ...disk('vdb'), source: other })) },
    ];
    for (const { source, exportName } of attached) {
      for (const port of [0, 1]) {
        expect(sameBytes(await readExport(uriAt(port, exportName)), source.contents)).toBe(true);
      }
    }
    const client = await connectNbd({ uri: uriAt(0, attached[0]?.exportName ?? '') });
    expect(client.readOnly).toBe(true);
    expect(client.blockSize.maximumPayload).toBe(256 * KiB);
    await expect(client.write(0, Buffer.alloc(4096))).rejects.toThrow();
    await client.close();
    expect((await observed(proxyId)).proxy.attachments).toEqual([
      { ownerId: 'backup-1', diskId: 'vda' },
      { ownerId: 'backup-1', diskId: 'vdb' },
    ]);
    await proxies.detach(disk('vdb'));
  });

  test('is found by a caller that was restarted, and asked again does nothing twice', async () => {
    const before = await lab.processes(proxyId);
    const attached = await proxies.attach({ ...disk('vda'), source });
    await proxies.close();
    proxies = await lab.open();
    expect((await proxies.activate(order)).ports).toEqual(ports);
    expect(await proxies.attach({ ...disk('vda'), source })).toEqual(attached);
    expect((await observed(proxyId)).proxy).toEqual({
      proxyId,
      state: 'alive',
      detail: '',
      attachments: [{ ownerId: 'backup-1', diskId: 'vda' }],
      readings: expect.any(Array),
    });
    expect(await lab.processes(proxyId)).toEqual(before);
    await expect(proxies.activate({ ...order, ports: 3 })).rejects.toThrow('with 2 ports');
  });

  test('never looks into a disk: nobody having read, next to nothing was read of the source', async () => {
    const untouched = await lab.makeSource(64 * MiB);
    await proxies.attach({ ...disk('vdq'), source: untouched });
    // What the kernel reads of every disk that appears, in search of a partition table.
    expect(await untouched.bytesRead()).toBeLessThanOrEqual(16 * KiB);
    await proxies.detach(disk('vdq'));
    expect(await untouched.bytesRead()).toBeLessThanOrEqual(16 * KiB);
  });

  test('gives a port to one client, and to the next within a second of its going', async () => {
    const { exportName } = await proxies.attach({ ...disk('vda'), source });
    const first = await connectNbd({ uri: uriAt(0, exportName) });
    await expect(connectNbd({ uri: uriAt(0, exportName), connectMilliseconds: 500 })).rejects.toThrow();
    await first.read(0, 4096, Buffer.alloc(4096));
    await first.close();
    const at = Date.now();
    const second = await eventually('The port being free again', patience, () =>
      connectNbd({ uri: uriAt(0, exportName), connectMilliseconds: 3000 }).catch(() => undefined),
    );
    expect(Date.now() - at).toBeLessThan(3000);
    await second.close();
  });

  test('a client that leaves in the middle of a reply leaves none of it to the next', async () => {
    const { exportName } = await proxies.attach({ ...disk('vda'), source });
    for (let round = 0; round < 5; round += 1) {
      const gone = new AbortController();
      const client = await connectNbd({ uri: uriAt(1, exportName), signal: gone.signal });
      const reading = client.read(0, source.sizeBytes, Buffer.alloc(source.sizeBytes));
      gone.abort(new Error('the client leaves'));
      await expect(reading).rejects.toThrow();
      await expectFree(1);
      expect(sameBytes(await readExport(uriAt(1, exportName)), source.contents)).toBe(true);
    }
  });

  test('a server killed inside the guest fails its client, who alone is hurt, and the port serves the next', async () => {
    const { exportName } = await proxies.attach({ ...disk('vda'), source });
    const client = await connectNbd({ uri: uriAt(0, exportName), requestMilliseconds: 1500 });
    await client.read(0, 512, Buffer.alloc(512));
    await lab.killServer(proxyId, 0);
    await expect(client.read(0, 512, Buffer.alloc(512))).rejects.toThrow();
    await client.close();
    await expectFree(0);
    expect(sameBytes(await readExport(uriAt(0, exportName)), source.contents)).toBe(true);
    const { proxy, health } = await observed(proxyId);
    expect(health?.errors.join()).toContain('server of port 0 ended: killed 9');
    expect(readingOf(proxy, 'serverCrashes')).toBe(1);
  });

  test('a disk detached under a client that reads it makes read errors, and can be attached again', async () => {
    const { exportName } = await proxies.attach({ ...disk('vda'), source });
    const client = await connectNbd({ uri: uriAt(0, exportName), requestMilliseconds: 10_000 });
    await client.read(0, 512, Buffer.alloc(512));
    await proxies.detach(disk('vda'));
    await expect(client.read(4 * MiB, 512, Buffer.alloc(512))).rejects.toThrow();
    await client.close();
    expect((await observed(proxyId)).proxy).toMatchObject({ state: 'alive', attachments: [] });
    await expect(readExport(uriAt(1, exportName))).rejects.toThrow();
    await proxies.attach({ ...disk('vda'), source });
    expect(sameBytes(await readExport(uriAt(1, exportName)), source.contents)).toBe(true);
  });

  test('a source that dies makes read errors, not a guest that hangs', async () => {
    const dying = await lab.makeSource(4 * MiB);
    const { exportName } = await proxies.attach({ ...disk('vdd'), source: dying });
    const client = await connectNbd({ uri: uriAt(0, exportName), requestMilliseconds: 10_000 });
    await client.read(0, 4096, Buffer.alloc(4096));
    await dying.kill();
    await expect(client.read(3 * MiB, 4096, Buffer.alloc(4096))).rejects.toThrow(/EIO|failed/);
    await client.close();
    expect((await observed(proxyId)).proxy.state).toBe('alive');
    await proxies.detach(disk('vdd'));
  });

  test('a hot-add that takes long costs the proxy nothing: it is alive, or nobody could ask it', async () => {
    const slow = await lab.makeSource(1 * MiB, 18);
    let done = false;
    const attaching = proxies
      .attach({ ...disk('vds'), source: slow })
      .catch(() => undefined)
      .finally(() => {
        done = true;
      });
    const looks: string[] = [];
    const began = Date.now();
    while (!done) looks.push((await observed(proxyId)).proxy.state);
    await attaching;
    expect(Date.now() - began).toBeGreaterThan(16_000);
    expect(looks.filter((state) => state !== 'alive' && state !== 'unknown')).toEqual([]);
    await slow.kill();
    await proxies.detach(disk('vds'));
    expect((await observed(proxyId)).proxy).toMatchObject({ state: 'alive', detail: '' });
  }, 150_000);

  test("a hot-add that is refused says QEMU's reason and leaves nothing", async () => {
    const gone = await lab.makeSource(1 * MiB);
    await gone.kill();
    const refused = await proxies.attach({ ...disk('vdx'), source: gone }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ message: expect.stringContaining('vdx') });
    expect((refused as Error).cause).toMatchObject({ message: expect.stringContaining('blockdev-add') });
    expect((await observed(proxyId)).proxy.detail).toBe('');
    await expect(
      proxies.attach({ ...disk('vdy'), source: { ...source, exportName: 'frozen', sizeBytes: 4096 } }),
    ).rejects.toMatchObject({ code: 'DiskDiffers' });
    expect((await observed(proxyId)).proxy.attachments.map(({ diskId }) => diskId)).toEqual(['vda']);
  });

  test('killed, it is seen and said why; giving back what it held is success; it can be activated anew', async () => {
    const [mark] = await lab.processes(proxyId);
    process.kill(mark?.pid ?? 0, 'SIGKILL');
    // While it dies it is a process that cannot be reached.
    await eventually('Its end', patience, async () =>
      (await observed(proxyId)).proxy.detail.includes('QEMU process is gone') ? true : undefined,
    );
    expect(await lab.processes(proxyId)).toEqual([]);
    const { proxy, health } = await observed(proxyId);
    expect(proxy).toMatchObject({ state: 'gone', attachments: [] });
    expect(health).toBeNull();
    await expect(proxies.attach({ ...disk('vda'), source })).rejects.toThrow(proxyId);
    await proxies.detach(disk('vda'));
    ports = (await proxies.activate(order)).ports;
    const { exportName } = await proxies.attach({ ...disk('vda'), source });
    expect(sameBytes(await readExport(uriAt(0, exportName)), source.contents)).toBe(true);
    await proxies.deactivate(proxyId);
    await proxies.deactivate(proxyId);
    expect(await lab.leftovers()).toEqual([]);
  });
});

describe('a proxy VM that cannot be', () => {
  let broken: string;
  beforeAll(async () => {
    broken = await mkdtemp(join(tmpdir(), 'ba-'));
    for (const file of ['vmlinuz', 'appliance.json']) {
      await cp(join(defaultApplianceDirectory(), file), join(broken, file));
    }
    const described = JSON.parse(await readFile(join(broken, 'appliance.json'), 'utf8'));
    described.unpacked = { file: 'initramfs.cpio', bytes: 5, sha256: 'broken' };
    await writeFile(join(broken, 'appliance.json'), JSON.stringify(described));
    await writeFile(join(broken, 'initramfs.cpio'), 'wrong');
  });
  afterAll(async () => {
    await rm(broken, { recursive: true, force: true });
  });

  test('one whose guest does not come up is ended, with the last words of its console', async () => {
    const at = Date.now();
    const failure = await (await lab.open({ applianceDirectory: broken }))
      .activate({ proxyId: 'p2-0a0b0c0d', ports: 1, deadlineSeconds: 20 })
      .catch((error: unknown) => error);
    expect(Date.now() - at).toBeLessThan(25_000);
    expect(failure).toMatchObject({ code: 'ProxyNotActivated' });
    expect((failure as Error).cause).toMatchObject({ message: expect.stringContaining('Kernel panic') });
    expect(await lab.leftovers()).toEqual([]);
  });

  test('one that is not ready by its deadline is ended then', async () => {
    const at = Date.now();
    const order = { proxyId: 'p3-0a0b0c0d', ports: 1, deadlineSeconds: 0.3 };
    await expect(proxies.activate(order)).rejects.toMatchObject({ code: 'ProxyNotActivated' });
    expect(Date.now() - at).toBeLessThan(5000);
    expect(await lab.leftovers()).toEqual([]);
  });

  test('an appliance that was not built is a fault that says how to build it, and nothing is left', async () => {
    const opened = await lab.open({ applianceDirectory: '/nowhere' });
    await expect(opened.requireBootable()).rejects.toThrow('infra/appliance/src/build.ts');
    const order = { proxyId: 'p4-0a0b0c0d', ports: 1, deadlineSeconds: 20 };
    const failure = await opened.activate(order).catch((error: unknown) => error);
    expect([describeError(failure), isPermanent(failure)]).toEqual([
      expect.stringContaining('infra/appliance/src/build.ts'),
      true,
    ]);
    expect(await lab.leftovers()).toEqual([]);
  });
});

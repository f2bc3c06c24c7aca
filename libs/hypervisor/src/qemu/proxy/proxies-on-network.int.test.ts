import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  canMakeNetworks,
  defaultApplianceDirectory,
  makeTestNetwork,
  type TestNetwork,
} from '@backhaul/appliance';
import { exportUri, type Port } from '@backhaul/contracts';
import { describeError, eventually, MiB } from '@backhaul/kernel';
import { connectNbd } from '@backhaul/nbd';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readExport } from '../../testing/read-export.ts';
import type { QemuProxies } from './proxies.ts';
import { makeProxyLab, type ProxyLab, type TestSource } from './testing/proxy-lab.ts';

const patience = 60_000;
let lab: ProxyLab;
let network: TestNetwork;

const sameBytes = (a: Buffer, b: Buffer): boolean => a.equals(b);

// A bridge is root's to make.
describe.skipIf(!canMakeNetworks())('a proxy VM whose ports are on a network', () => {
  const proxyId = 'p1-0a0b0c0d';
  const order = { proxyId, ports: 2, deadlineSeconds: 110 };
  let proxies: QemuProxies;
  let source: TestSource;
  let ports: Port[];
  let exportName: string;

  beforeAll(async () => {
    lab = await makeProxyLab();
    network = await makeTestNetwork();
    proxies = await lab.open({ network: onlyFrom(10, 13) });
    source = await lab.makeSource(8 * MiB);
    const activated = await proxies.activate(order);
    ports = activated.ports;
    expect(activated.characteristics.sessionsMax).toBe(28);
    ({ exportName } = await proxies.attach({ proxyId, ownerId: 'backup-1', diskId: 'vda', source }));
  }, 2 * 120_000);
  afterAll(async () => {
    try {
      await lab?.remove();
    } finally {
      await network?.remove();
    }
  });

  const onlyFrom = (first: number, last: number) => ({
    bridge: network.bridge,
    addresses: `${network.at(first)}-${network.at(last)}/24`,
  });
  const uriAt = (port: number) => exportUri(ports[port]?.endpoint ?? '', exportName);
  const observed = async (id: string) => (await proxies.observe()).find((one) => one.proxy.proxyId === id);
  const healthOf = async (id: string) => (await observed(id))?.health ?? undefined;
  const refusal = (options: Parameters<typeof connectNbd>[0]) =>
    connectNbd(options).then(() => 'none', describeError);
  const open = async (id: string, port: number) => (await healthOf(id))?.ports[port]?.open;

  test('is reached at an address of the given ones, a TCP port for each of its ports, and reads are whole', async () => {
    const [one, other] = ports.map(({ endpoint }) => new URL(endpoint));
    expect([10, 11, 12, 13].map(network.at)).toContain(one?.hostname);
    expect([one?.protocol, one?.port, other?.port]).toEqual(['nbd:', '10809', '10810']);
    expect(other?.hostname).toBe(one?.hostname);
    for (const port of [0, 1]) expect(sameBytes(await readExport(uriAt(port)), source.contents)).toBe(true);
    // One that is read and not written to, as at any port.
    const client = await connectNbd({ uri: uriAt(0) });
    expect(client.readOnly).toBe(true);
    await client.close();
  });

  test('is reached by another machine of the network', async () => {
    expect(await network.onNeighbour(network.neighbour, 'nbdinfo', ['--size', uriAt(1)])).toBe(
      `${source.sizeBytes}\n`,
    );
  });

  test('is found by a caller that was restarted, and by one that is configured otherwise now', async () => {
    for (const options of [{ network: onlyFrom(20, 29) }, {}, { network: onlyFrom(10, 13) }]) {
      proxies = await lab.open(options);
      expect((await proxies.activate(order)).ports).toEqual(ports);
    }
  });

  test('a port has one client; one that is killed in the middle of a reply leaves none of it to the next', async () => {
    const gone = new AbortController();
    const client = await connectNbd({ uri: uriAt(0), signal: gone.signal });
    expect(await refusal({ uri: uriAt(0), connectMilliseconds: 500 })).toContain('took longer than 500 ms');
    const begins = client.read(0, 512, Buffer.alloc(512));
    const reading = client.read(0, source.sizeBytes, Buffer.alloc(source.sizeBytes));
    await begins;
    gone.abort(new Error('the client leaves'));
    await expect(reading).rejects.toThrow();
    expect(sameBytes(await readExport(uriAt(0)), source.contents)).toBe(true);
  });

  test('a server killed inside the guest is seen by its client at once, and the port serves the next', async () => {
    const client = await connectNbd({ uri: uriAt(1) });
    await client.read(0, 512, Buffer.alloc(512));
    await lab.killServer(proxyId, 1);
    const at = Date.now();
    await expect(client.read(0, 512, Buffer.alloc(512))).rejects.toThrow();
    expect(Date.now() - at).toBeLessThan(5000);
    expect(sameBytes(await readExport(uriAt(1)), source.contents)).toBe(true);
    expect((await healthOf(proxyId))?.errors.join()).toContain('server of port 1 ended: killed 9');
  });

  test('a client whose machine vanished loses its port, and the next one is served', async () => {
    // Its packets come from an address that nobody has any more: no goodbye, and no answer to a question either.
    const vanishing = network.at(40);
    await network.take(vanishing);
    const { hostname, port } = new URL(ports[0]?.endpoint ?? '');
    const connects = `require('node:net').connect(${port}, '${hostname}').on('error', () => {})`;
    const client = network
      .onNeighbour(vanishing, process.execPath, ['-e', `${connects}; setTimeout(process.exit, 30_000)`])
      .catch(() => undefined);
    await eventually('The port being taken', patience, async () => (await open(proxyId, 0)) || undefined);
    await network.drop(vanishing);
    const at = Date.now();
    await eventually('The port being free again', patience, async () =>
      (await open(proxyId, 0)) === false ? true : undefined,
    );
    expect(Date.now() - at).toBeLessThan(50_000);
    expect(sameBytes(await readExport(uriAt(0)), source.contents)).toBe(true);
    await client;
  }, 120_000);

  test('who is not among the clients is hung up on and named; who comes through the gateway may be one', async () => {
    const far = { proxyId: 'p2-0a0b0c0d', ports: 1, deadlineSeconds: 110 };
    const clients = [network.behind];
    proxies = await lab.open({ network: { ...onlyFrom(14, 14), gateway: network.neighbour, clients } });
    const [port] = (await proxies.activate(far)).ports;
    const uri = exportUri(
      port?.endpoint ?? '',
      (await proxies.attach({ proxyId: far.proxyId, ownerId: 'backup-1', diskId: 'vda', source })).exportName,
    );
    expect(await network.onNeighbour(network.behind, 'nbdinfo', ['--size', uri])).toBe(
      `${source.sizeBytes}\n`,
    );
    expect(await refusal({ uri, connectMilliseconds: 10_000 })).toMatch(/hung up|ECONNRESET/);
    const { errors } = (await healthOf(far.proxyId)) ?? {};
    expect(errors?.join()).toContain(`Port 0 was tried by ${network.own}, who is not among its clients`);
    await proxies.deactivate(far.proxyId);
  });

  test('takes no address that another machine has, says whose it would have been, and leaves nothing', async () => {
    await network.take(network.at(15));
    proxies = await lab.open({ network: onlyFrom(15, 15) });
    const refused = await proxies
      .activate({ proxyId: 'p3-0a0b0c0d', ports: 1, deadlineSeconds: 110 })
      .catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: 'ProxyNotActivated',
      cause: {
        message: expect.stringContaining(`${network.at(15)} is in use by another machine of this network`),
      },
    });
    expect(await lab.processes('p3-0a0b0c0d')).toEqual([]);
    expect(await proxies.ids()).toEqual([proxyId]);
  });

  test('takes no address that a proxy of another deployment has', async () => {
    const theirs = await makeProxyLab();
    try {
      const elsewhere = await theirs.open({ network: onlyFrom(16, 16) });
      await elsewhere.activate({ proxyId: 'p5-0a0b0c0d', ports: 1, deadlineSeconds: 110 });
      proxies = await lab.open({ network: onlyFrom(16, 16) });
      const refused = proxies.activate({ proxyId: 'p5-0a0b0c0d', ports: 1, deadlineSeconds: 110 });
      expect(describeError(await refused.catch((error: unknown) => error))).toContain(
        `${network.at(16)} is in use by another machine`,
      );
    } finally {
      await theirs.remove();
    }
  });

  test('a bridge that keeps a new proxy silent, and an appliance that knows no such ports, are refused', async () => {
    await network.delayForwarding(15);
    const opened = await lab.open({ network: onlyFrom(10, 13) });
    await expect(opened.requireBootable().finally(() => network.delayForwarding(0))).rejects.toThrow(
      'forward delay of 15 s',
    );
    await opened.requireBootable();

    const old = await mkdtemp(join(tmpdir(), 'bo-'));
    try {
      for (const file of ['vmlinuz', 'initramfs.zst'])
        await symlink(join(defaultApplianceDirectory(), file), join(old, file));
      const {
        unpacked: _,
        networkPorts: __,
        ...described
      } = JSON.parse(await readFile(join(defaultApplianceDirectory(), 'appliance.json'), 'utf8'));
      await writeFile(join(old, 'appliance.json'), JSON.stringify(described));
      await (await lab.open({ applianceDirectory: old })).requireBootable();
      const onNetwork = await lab.open({ applianceDirectory: old, network: onlyFrom(10, 13) });
      await expect(onNetwork.requireBootable()).rejects.toThrow('too old for ports on a network');
    } finally {
      await rm(old, { recursive: true, force: true });
    }
  });

  test('a network that has no address left, and a bridge that is not there, are faults that say so', async () => {
    const [own = ''] = ports.map(({ endpoint }) => new URL(endpoint).hostname);
    proxies = await lab.open({ network: { bridge: network.bridge, addresses: `${own}-${own}/24` } });
    await expect(
      proxies.activate({ proxyId: 'p4-0a0b0c0d', ports: 1, deadlineSeconds: 110 }),
    ).rejects.toMatchObject({ cause: { code: 'AddressesUsedUp' } });
    const nowhere = { ...onlyFrom(10, 13), bridge: 'br-nowhere' };
    const misled = await lab.open({ network: nowhere });
    await expect(misled.requireBootable()).rejects.toThrow('There is no bridge br-nowhere');
  });

  test('killed, it can be activated anew, and leaves nothing when it is given back', async () => {
    proxies = await lab.open({ network: onlyFrom(10, 13) });
    const [mark] = await lab.processes(proxyId);
    process.kill(mark?.pid ?? 0, 'SIGKILL');
    // While it dies it is a process that cannot be reached.
    await eventually('Its end', patience, async () =>
      (await observed(proxyId))?.proxy.detail.includes('QEMU process is gone') ? true : undefined,
    );
    ({ ports } = await proxies.activate(order));
    ({ exportName } = await proxies.attach({ proxyId, ownerId: 'backup-1', diskId: 'vda', source }));
    expect(sameBytes(await readExport(uriAt(0)), source.contents)).toBe(true);
    await proxies.deactivate(proxyId);
    expect(await lab.leftovers()).toEqual([]);
  });
});

/**
 * What real proxy VMs cost and carry: reading a frozen disk of a running VM through 1, 2 and 4 proxies and ports, beside the host's
 * own export of the same snapshot in the same minutes; how long the guest stands still; and the time from a request to its first
 * chunk with cold proxies and with warm ones. Ratios are `vsDirect`: above 1 is faster than the host's own export. Without KVM
 * every proxy is emulated, and two cores carry all of it: what is seen here is the least that proxies do.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildAppliance, buildWritingGuest, canMakeNetworks, makeTestNetwork } from '@backhaul/appliance';
import { backhaulClient, requestBackup } from '@backhaul/client';
import { exportUri, Policy, type ProxyNetwork } from '@backhaul/contracts';
import { connectEventStore } from '@backhaul/event-store';
import { type HypervisorHost, openHost } from '@backhaul/hypervisor';
import { Fault, MiB } from '@backhaul/kernel';
import { startStack, startWritingVm } from '@backhaul/local';
import { connectNbd } from '@backhaul/nbd';
import type { Note } from './figures.ts';
import { find } from './find-event.ts';
import { median } from './peers.ts';

const execute = promisify(execFile);
const HOST = 'bench';
const VM = 'web';
const DATA = 192 * MiB;
const PIECE = MiB;
const ROUNDS = 3;
/** Proxies, and ports of each. */
const SHAPES = [
  [1, 1],
  [1, 2],
  [1, 4],
  [2, 1],
  [2, 2],
  [4, 1],
] as const;
const TCP_SHAPES = SHAPES.slice(0, 4);

export async function run(note: Note): Promise<undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'bp-'));
  const vms = join(directory, 'vms');
  await mkdir(vms);
  const { directory: applianceDirectory } = await buildAppliance();
  const guest = await buildWritingGuest(join(directory, 'guest'));
  const image = join(directory, 'vda.qcow2');
  await execute('bash', [
    '-ec',
    `head -c ${DATA} /dev/urandom > ${image}.raw; qemu-img convert -f raw -O qcow2 ${image}.raw ${image}; rm ${image}.raw; qemu-img resize -q -f qcow2 ${image} +64M`,
  ]);
  const vm = await startWritingVm({
    vmId: VM,
    folder: vms,
    guest,
    pauseMilliseconds: 200,
    disks: [{ diskId: 'vda', path: image, format: 'qcow2' }],
  });
  try {
    await vm.hasWritten(10);
    await throughput(note, { directory, vms, applianceDirectory }, { key: 'proxies', shapes: SHAPES });
    await throughputByTcp(note, { directory, vms, applianceDirectory });
    await firstChunk(note, { directory, vms, applianceDirectory });
  } finally {
    await vm.kill();
    await rm(directory, { recursive: true, force: true });
  }
}

interface Place {
  readonly directory: string;
  readonly vms: string;
  readonly applianceDirectory: string;
}

interface Way {
  /** What the names of its figures begin with. */
  readonly key: string;
  /** Proxies, and ports of each. */
  readonly shapes: readonly (readonly [number, number])[];
  readonly proxyNetwork?: ProxyNetwork;
}

/** The ports as TCP ports on a bridge, which is root's to make. */
async function throughputByTcp(note: Note, place: Place): Promise<void> {
  if (!canMakeNetworks()) return;
  const network = await makeTestNetwork();
  try {
    const proxyNetwork = { bridge: network.bridge, addresses: network.addresses };
    await throughput(note, place, { key: 'proxies.tcp', shapes: TCP_SHAPES, proxyNetwork });
  } finally {
    await network.remove();
  }
}

async function throughput(
  note: Note,
  { directory, vms, applianceDirectory }: Place,
  { key, shapes, proxyNetwork }: Way,
): Promise<void> {
  // The stack's: a folder of VMs has one owner.
  const stateDirectory = join(directory, 's');
  const host = await openHost({
    hostId: HOST,
    kind: 'qemu',
    address: vms,
    stateDirectory,
    applianceDirectory,
    proxyNetwork,
  });
  const snapshotId = crypto.randomUUID();
  const started: string[] = [];
  try {
    const disks = [{ diskId: 'vda', kind: 'full' as const, parentCheckpoint: null, parentIdentity: null }];
    const taken = await host.takeSnapshot({ snapshotId, vmId: VM, disks });
    if (!taken.ok) throw new Fault(`The snapshot was refused: ${taken.refusal.message}`);
    note({ [`${key}.pauseMilliseconds`]: taken.value.pauseMilliseconds });
    const direct = await host.openDirectEndpoint(snapshotId, 2);
    const directUris = direct.ports.map(({ endpoint }) => exportUri(endpoint, direct.exportNameOf.vda ?? ''));
    const uris = await proxiesWith(host, snapshotId, started, note, key);
    for (const [proxies, ports] of shapes) {
      const of = uris.slice(0, proxies).flatMap((all) => all.slice(0, ports));
      const rates = [];
      const ratios = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        const base = await rateOf(directUris);
        const rate = await rateOf(of);
        rates.push(rate);
        ratios.push(rate / base);
      }
      note({
        [`${key}.read.${proxies}x${ports}.mibPerSecond`]: median(rates),
        [`${key}.read.${proxies}x${ports}.vsDirect`]: median(ratios),
      });
    }
  } finally {
    for (const proxyId of started) await host.deactivateProxy(proxyId);
    await host.releaseSnapshot(snapshotId, VM, 'discarded');
    await host.close();
  }
}

/** Four proxies of four ports each, one after the other, with the disk attached; the URIs of each. */
async function proxiesWith(
  host: HypervisorHost,
  snapshotId: string,
  started: string[],
  note: Note,
  key: string,
): Promise<string[][]> {
  const uris = [];
  const [boots, attaches]: [number[], number[]] = [[], []];
  for (const proxyId of ['p1', 'p2', 'p3', 'p4']) {
    started.push(proxyId);
    const begun = performance.now();
    const { ports } = await host.activateProxy({ proxyId, ports: 4, deadlineSeconds: 120 });
    const booted = performance.now();
    const { exportName } = await host.attachDisk({
      ...{ proxyId, ownerId: snapshotId, diskId: 'vda' },
      access: 'read-only',
    });
    boots.push((booted - begun) / 1000);
    attaches.push((performance.now() - booted) / 1000);
    uris.push(ports.map(({ endpoint }) => exportUri(endpoint, exportName)));
  }
  note({
    [`${key}.activateSeconds`]: median(boots),
    [`${key}.attachSeconds`]: median(attaches),
  });
  return uris;
}

/** MiB/s of reading the data once, pieces of it through all of these at a time, four in flight each. */
async function rateOf(uris: readonly string[]): Promise<number> {
  const clients = await Promise.all(uris.map((uri) => connectNbd({ uri })));
  let next = 0;
  const lane = async (client: Awaited<ReturnType<typeof connectNbd>>): Promise<void> => {
    const target = new Uint8Array(PIECE);
    while (next < DATA) {
      const offset = next;
      next += PIECE;
      await client.read(offset, PIECE, target);
    }
  };
  try {
    const begun = performance.now();
    await Promise.all(clients.flatMap((client) => [1, 2, 3, 4].map(() => lane(client))));
    return DATA / MiB / ((performance.now() - begun) / 1000);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}

async function firstChunk(note: Note, { directory, vms, applianceDirectory }: Place): Promise<void> {
  const stack = await startStack({
    directory,
    repository: join(directory, 'repository'),
    hosts: [{ hostId: HOST, kind: 'qemu', address: vms }],
    applianceDirectory,
  });
  const log = await connectEventStore({ url: stack.consolePostgresUrl });
  try {
    const limits = { fullThresholdBytes: MiB, maxProxiesPerHost: 1, childJobBytes: 64 * MiB };
    await backhaulClient(stack).definePolicy(Policy.parse({ policyId: 'bench', ...limits }));
    for (const name of ['cold', 'warm', 'warm']) {
      const begun = Date.now();
      const answer = await requestBackup({
        natsUrl: stack.natsUrl,
        host: HOST,
        vm: VM,
        kind: 'full',
        policy: 'bench',
      });
      const backupId = answer.backupId ?? '';
      const chunk = await find(log, backupId, 'ChunkReceived');
      note({ [`proxies.firstChunk.${name}Seconds`]: (Date.parse(chunk.recordedAt) - begun) / 1000 });
      await find(log, backupId, 'RunClosed');
    }
  } finally {
    await log.close();
    await stack.stop();
  }
}

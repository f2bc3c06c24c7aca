/**
 * What goes wrong around real proxy VMs: each ends in a backup that is whole or in a failure that is explained, the source VM runs on
 * with nothing of ours in it, and nothing is left at the host. Their ports are TCP ports here, wherever a network can be made: one that is
 * killed then says no goodbye. (In the other files ports are channels of the VMs, and a proxy is killed there as well.)
 */
import { canMakeNetworks, lastRecordOf, makeTestNetwork, type TestNetwork } from '@backhaul/appliance';
import { eventually, MiB } from '@backhaul/kernel';
import type { WritingVm } from '@backhaul/local';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyOf, sha256Of } from './disk-image.ts';
import {
  everythingWasGivenBack,
  nothingWasReadTwice,
  nothingWasWrittenTwice,
  ofType,
  portsWereExclusive,
} from './log-checks.ts';
import { openQemuLab, type QemuLab, type VmOrder } from './qemu-lab.ts';

/** Enough to be in the middle of when a proxy or a service is killed: a second or two through emulated proxies. */
const MEDIUM: VmOrder = {
  disks: [{ diskId: 'vda', sizeBytes: 160 * MiB, random: [[8 * MiB, 112 * MiB]] }],
  pauseMilliseconds: 100,
};
/** Enough for a guest to write its last records and to power off in the middle of: several seconds. */
const LARGE: VmOrder = {
  disks: [{ diskId: 'vda', sizeBytes: 256 * MiB, random: [[8 * MiB, 240 * MiB]] }],
  pauseMilliseconds: 100,
};
let network: TestNetwork | undefined;
let lab: QemuLab;
let web: WritingVm;
/** The newest restore point of `web` whose instant is known. */
let known: { backupId: string; truth: Record<string, string> };

beforeAll(async () => {
  network = canMakeNetworks() ? await makeTestNetwork() : undefined;
  lab = await openQemuLab(
    network && { bridge: network.bridge, addresses: network.addresses, clients: [network.own] },
  );
  await lab.definePolicy('proxies', {
    childJobBytes: 16 * MiB,
    maxPortsPerProxy: 2,
    maxChildJobsPerProxy: 2,
    maxProxiesPerHost: 2,
    fullThresholdBytes: 1 * MiB,
    recoveryThresholdBytes: 1 * MiB,
    proxyIdleSeconds: 60,
  });
  await lab.definePolicy('hasty', {
    fullThresholdBytes: 1 * MiB,
    proxyActivationSeconds: 1,
    maxProxiesPerHost: 1,
    proxyIdleSeconds: 0,
  });
  web = await lab.vm('web', MEDIUM);
}, 300_000);
afterAll(async () => {
  try {
    await lab?.close();
  } finally {
    await network?.remove();
  }
});

/** As after an undisturbed backup; `truth` is the digest of the disk at the instant. */
async function completesWhole(backupId: string, truth: Record<string, string>): Promise<void> {
  expect(await lab.ended(backupId, 180_000)).toMatchObject({ type: 'BackupCompleted' });
  await lab.closed(backupId);
  const story = await lab.story(backupId);
  nothingWasReadTwice(story);
  portsWereExclusive(story);
  everythingWasGivenBack(story);
  expect(await sha256Of(await lab.restore(backupId, 'vda'))).toBe(truth.vda);
  expect(await web.status()).toBe('running');
  await web.hasWritten((await web.writes()) + 4);
  expect(await web.leftovers()).toEqual([]);
  known = { backupId, truth };
}

/** Of the host: a proxy belongs to no one backup. */
const lostProxies = async (): Promise<string[]> =>
  ofType((await lab.log.readLog(0, { types: ['ProxyLost'] })).events, 'ProxyLost').map(
    ({ data }) => data.proxyId,
  );

test('a proxy VM that is not ready in time fails the backup with its reason, once others were no better', async () => {
  // First of all tests: a proxy that is up already would do.
  const before = (await lostProxies()).length;
  const backupId = await lab.backup('web', { policy: 'hasty', kind: 'full' });
  const ended = await lab.ended(backupId, 120_000);
  expect(ended).toMatchObject({ type: 'BackupFailed' });
  expect(JSON.stringify(ended.data)).toMatch(/not (?:become )?ready|did not come up/);
  await lab.closed(backupId);
  expect((await lostProxies()).length).toBeGreaterThan(before);
  everythingWasGivenBack(await lab.story(backupId));
  expect(await web.leftovers()).toEqual([]);
});

test('a proxy VM killed while child jobs read through it: the rest goes another way, nothing is read twice', async () => {
  const { backupId, truth } = await lab.backupOfKnownInstant(web, ['vda'], {
    policy: 'proxies',
    kind: 'full',
  });
  await lab.until(backupId, 'ChunkReceived', 4);
  const [lease] = ofType(await lab.story(backupId), 'PortsLeased');
  const port = network === undefined ? /^nbd\+unix:/ : /^nbd:\/\/10\.\d+\.\d+\.[12]\d:108(09|10)\/./;
  expect(lease?.data.ports[0]?.uri).toMatch(port);
  const before = (await lostProxies()).length;
  await lab.killProxy(lease?.data.proxyId ?? '');
  await completesWhole(backupId, truth);
  expect((await lostProxies()).slice(before)).toEqual([lease?.data.proxyId]);
});

test('kill -9 of the proxy-manager while child jobs read: the same backup completes, and the source VM is left as it was', async () => {
  const { backupId, truth } = await lab.backupOfKnownInstant(web, ['vda'], {
    policy: 'proxies',
    kind: 'full',
  });
  await lab.until(backupId, 'ChunkReceived', 4);
  const manager = lab.stack.services.get('proxy-manager');
  await manager?.kill();
  await manager?.start();
  await completesWhole(backupId, truth);
});

test('kill -9 of the proxy-manager in the middle of the freeze leaves no guest standing still', async () => {
  const backupId = await lab.backup('web', { policy: 'proxies', kind: 'full' });
  await lab.until(backupId, 'SnapshotRequested', 1);
  const manager = lab.stack.services.get('proxy-manager');
  await manager?.kill();
  // Nobody is there to help it but what the dead process has left behind.
  await eventually('The guest running on', 60_000, async () =>
    (await web.status()) === 'running' ? true : undefined,
  );
  await web.hasWritten((await web.writes()) + 4);
  await manager?.start();
  expect((await lab.ended(backupId, 180_000)).type).toBe('BackupCompleted');
  await lab.closed(backupId);
  expect(await lastRecordOf(await lab.restore(backupId, 'vda'))).toBeGreaterThan(0);
  expect(await web.leftovers()).toEqual([]);
});

test.each([
  [
    'killed',
    async (vm: WritingVm, backupId: string) => {
      await lab.until(backupId, 'ProxiesActivated', 1);
      await vm.kill();
    },
  ],
  // It has a few records left to write when it goes on, and then powers off: on a busy machine before its proxies are there.
  ['powered off by its guest', async (vm: WritingVm) => void (await vm.ended)],
])(
  'a source VM %s in mid-backup fails its backup with the reason, and leaves nothing at the host',
  async (how, ends) => {
    const vmId = how === 'killed' ? 'victim' : 'sleeper';
    const records = how === 'killed' ? {} : { records: 60 };
    const vm = await lab.vm(vmId, { ...LARGE, ...records });
    if (how !== 'killed') await vm.hasWritten(2 * 50);
    const { backupId } = await lab.backupOfKnownInstant(vm, ['vda'], { policy: 'proxies', kind: 'full' });
    await ends(vm, backupId);
    const ended = await lab.ended(backupId, 180_000);
    expect(ended).toMatchObject({
      type: 'BackupFailed',
      data: {
        refusal: {
          code: expect.stringMatching(/^Snapshot(Lost|Failed)$/),
          message: expect.stringMatching(new RegExp(`vm ${vmId}.*(does not run|gone|lost)`, 'i')),
        },
      },
    });
    await lab.closed(backupId);
    everythingWasGivenBack(await lab.story(backupId));
    expect((await lab.leftovers()).filter((name) => !name.startsWith('proxies/'))).toEqual([]);
  },
);

test('after all of that, a VM comes back through ports of proxies, byte for byte', async () => {
  const recoveryId = await lab.recover(known.backupId, 'web-2', { policy: 'proxies', mode: 'proxy-vm' });
  expect(await lab.ended(recoveryId, 180_000)).toMatchObject({
    type: 'RecoveryCompleted',
    data: { mode: 'proxy-vm' },
  });
  await lab.closed(recoveryId);
  const story = await lab.story(recoveryId);
  nothingWasWrittenTwice(story);
  everythingWasGivenBack(story);
  expect(portsWereExclusive(story)).toBeGreaterThan(1);
  const copy = lab.imageOf('web-2', 'vda');
  await copyOf(lab.recoveredDisk('web-2', 'vda'), copy);
  expect(await sha256Of(copy)).toBe(known.truth.vda);
});

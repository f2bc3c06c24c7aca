/**
 * Rows M5, M7 and M8 with proxy VMs whose ports are TCP ports, on a network that the administrator gave: data goes over that network, and
 * a proxy that dies says no goodbye.
 */
import { canMakeNetworks, makeTestNetwork, type TestNetwork } from '@backhaul/appliance';
import { MiB } from '@backhaul/kernel';
import type { WritingVm } from '@backhaul/local';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copyOf, sha256Of } from './disk-image.ts';
import {
  everythingWasGivenBack,
  nothingWasReadTwice,
  nothingWasWrittenTwice,
  ofType,
  portsWereExclusive,
} from './log-checks.ts';
import { openQemuLab, type QemuLab } from './qemu-lab.ts';

let network: TestNetwork;
let lab: QemuLab;
let web: WritingVm;
let known: { backupId: string; truth: Record<string, string> };

// A bridge is root's to make.
describe.skipIf(!canMakeNetworks())('proxies on a network', () => {
  beforeAll(async () => {
    network = await makeTestNetwork();
    lab = await openQemuLab({ bridge: network.bridge, addresses: network.addresses, clients: [network.own] });
    await lab.definePolicy('proxies', {
      childJobBytes: 16 * MiB,
      maxPortsPerProxy: 2,
      maxChildJobsPerProxy: 2,
      maxProxiesPerHost: 2,
      fullThresholdBytes: 1 * MiB,
      recoveryThresholdBytes: 1 * MiB,
      proxyIdleSeconds: 60,
    });
    web = await lab.vm('web', {
      disks: [{ diskId: 'vda', sizeBytes: 160 * MiB, random: [[8 * MiB, 112 * MiB]] }],
      pauseMilliseconds: 100,
    });
  }, 300_000);
  afterAll(async () => {
    await lab?.close();
    await network?.remove();
  });

  async function restoresWhole(backupId: string, truth: Record<string, string>): Promise<void> {
    await lab.closed(backupId);
    const story = await lab.story(backupId);
    nothingWasReadTwice(story);
    everythingWasGivenBack(story);
    expect(await sha256Of(await lab.restore(backupId, 'vda'))).toBe(truth.vda);
    expect(await web.leftovers()).toEqual([]);
  }

  test('a full and an incremental go through TCP ports of two proxies in waves, and restore to their instants', async () => {
    for (const kind of ['full', 'incremental']) {
      const mode = { policy: 'proxies', mode: 'proxy-vm', kind };
      known = await lab.backupOfKnownInstant(web, ['vda'], mode);
      expect(await lab.ended(known.backupId, 180_000)).toMatchObject({
        type: 'BackupCompleted',
        data: { kind, mode: 'proxy-vm' },
      });
      await restoresWhole(known.backupId, known.truth);
      const leased = ofType(await lab.story(known.backupId), 'PortsLeased').flatMap(({ data }) => data.ports);
      for (const { uri } of leased) expect(uri).toMatch(/^nbd:\/\/10\.\d+\.\d+\.[12]\d:108(09|10)\/./);
      if (kind === 'full') expect(new Set(leased.map(({ uri }) => new URL(uri).host)).size).toBe(4);
    }
  });

  test('a proxy killed while it is read says no goodbye: the rest goes another way, nothing is read twice', async () => {
    const { backupId, truth } = await lab.backupOfKnownInstant(web, ['vda'], {
      policy: 'proxies',
      kind: 'full',
    });
    await lab.until(backupId, 'ChunkReceived', 4);
    const [lease] = ofType(await lab.story(backupId), 'PortsLeased');
    await lab.killProxy(lease?.data.proxyId ?? '');
    expect((await lab.ended(backupId, 180_000)).type).toBe('BackupCompleted');
    await restoresWhole(backupId, truth);
    const lost = ofType((await lab.log.readLog(0, { types: ['ProxyLost'] })).events, 'ProxyLost');
    expect(lost.map(({ data }) => data.proxyId)).toContain(lease?.data.proxyId);
  });

  test('a VM comes back through TCP ports, byte for byte', async () => {
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
});

/** What was started with an appliance and a network is seen and given back by a host that has neither any more. */
import { buildAppliance } from '@backhaul/appliance';
import { describeError, isPermanent } from '@backhaul/kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HypervisorHost } from '../host.ts';
import { must } from '../host-contract.ts';
import { openHost } from '../open-host.ts';
import { makeVmHost, type VmHost } from '../testing/vm-host.ts';

const snapshotId = 'b1';
const proxyId = 'p1-0a0b0c0d';
let fixture: VmHost;
let host: HypervisorHost;

beforeAll(async () => {
  const { directory: applianceDirectory } = await buildAppliance();
  fixture = await makeVmHost({ applianceDirectory });
  const disks = [await fixture.create('vda.qcow2', '8M'), await fixture.create('vdb.raw', '4M')];
  await fixture.start('web', disks);
  host = await fixture.open();
});
afterAll(async () => {
  await host?.close();
  await fixture?.remove();
});

/** The service was restarted, and finds this. */
async function restartWith(found: Partial<VmHost['options']>): Promise<void> {
  await host.close();
  host = await openHost({ ...fixture.options, ...found });
}

const bridge = { bridge: 'bh-no-bridge', addresses: '10.99.0.10-10.99.0.19/24' };

test('without appliance and bridge all is observed and given back, and no proxy is started', async () => {
  const kind = 'full' as const;
  const ofDisk = { kind, parentCheckpoint: null, parentIdentity: null };
  const disks = ['vda', 'vdb'].map((diskId) => ({ diskId, ...ofDisk }));
  must(await host.takeSnapshot({ snapshotId, vmId: 'web', disks }));
  await host.activateProxy({ proxyId, ports: 1, deadlineSeconds: 100 });
  for (const { diskId } of disks)
    await host.attachDisk({ proxyId, ownerId: snapshotId, diskId, access: 'read-only' });
  const attachments = disks.map(({ diskId }) => ({ ownerId: snapshotId, diskId }));

  // The variable was unset.
  await restartWith({ applianceDirectory: undefined });
  const seen = await host.observe();
  expect(seen.proxies).toMatchObject([{ proxyId, state: 'alive', attachments }]);
  expect(seen.snapshots).toMatchObject([{ snapshotId, state: 'alive' }]);
  expect(seen.appliance).toBeUndefined();
  await host.detachDisk({ proxyId, ownerId: snapshotId, diskId: 'vda' });

  // Its folder was removed, and a network was given whose bridge is not there.
  await restartWith({ applianceDirectory: '/nowhere', proxyNetwork: bridge });
  expect((await host.observe()).proxies).toMatchObject([
    { state: 'alive', attachments: attachments.slice(1) },
  ]);
  const { modes } = must(await host.inspect('web', null));
  expect(modes['proxy-vm']).toEqual({
    available: false,
    reason: expect.stringContaining('infra/appliance/src/build.ts'),
  });
  // The appliance is there, the bridge is not.
  await restartWith({ proxyNetwork: bridge });
  expect(must(await host.inspect('web', null)).modes['proxy-vm']).toEqual({
    available: false,
    reason: expect.stringContaining('bh-no-bridge'),
  });
  const order = { proxyId: 'p2-0a0b0c0d', ports: 1, deadlineSeconds: 10 };
  const refused = await host.activateProxy(order).catch((error: unknown) => error);
  expect([describeError(refused), isPermanent(refused)]).toEqual([
    expect.stringContaining('bh-no-bridge'),
    true,
  ]);

  // One disk is still attached: the release has it let go.
  await host.releaseSnapshot(snapshotId, 'web', 'discarded');
  expect((await host.observe()).proxies).toMatchObject([{ proxyId, state: 'alive', attachments: [] }]);
  await host.deactivateProxy(proxyId);
  expect(await fixture.leftovers()).toEqual([]);
});

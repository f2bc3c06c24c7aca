/** The contract, kept by a running VM of one qcow2 and one raw disk, and proxy VMs that boot the appliance. */
import { buildAppliance } from '@backhaul/appliance';
import { describeHostContract } from '../host-contract.ts';
import { makeVmHost } from '../testing/vm-host.ts';
import { readAppliance } from './proxy/appliance-files.ts';

const { directory: applianceDirectory } = await buildAppliance();

describeHostContract('qemu', async () => {
  const fixture = await makeVmHost({ applianceDirectory });
  const system = await fixture.create('system.qcow2', '16M');
  const data = await fixture.create('data.raw', '8M');
  await fixture.io(system, 'write -P 0x11 0 2M', 'write -P 0x22 9M 1M');
  await fixture.io(data, 'write -P 0x33 1M 3M');
  await fixture.start('web', [system, data]);
  return Object.assign(fixture, { appliance: (await readAppliance(applianceDirectory)).build });
});

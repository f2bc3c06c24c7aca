/** The way back to a qemu host: the contract, and what is of this kind alone: VMs that are started, and boot what was recovered. */
import { buildAppliance } from '@backhaul/appliance';
import { describeRecoveryContract } from '../recovery-contract.ts';
import { makeRecoveringVmHost } from '../testing/recovering-vm-host.ts';

const { directory: applianceDirectory } = await buildAppliance();

describeRecoveryContract('qemu', () => makeRecoveringVmHost({ applianceDirectory }));

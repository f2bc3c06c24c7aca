/** The contract of the way back, kept by a folder with a VM of one qcow2 and one raw disk. */
import { describeRecoveryContract } from '../recovery-contract.ts';
import { makeImageFolder } from '../testing/image-folder.ts';

describeRecoveryContract('directory', async () => {
  const folder = await makeImageFolder();
  await folder.create('web/system.qcow2', '16M');
  await folder.create('web/data.raw', '8M');
  await folder.guest('web/system.qcow2', 'write -P 0x11 0 2M');
  await folder.guest('web/data.raw', 'write -P 0x33 1M 3M');
  return folder;
});

/**
 * Gives the snapshot of a running VM back: exports, frozen disks, filters and scratch files go, and the checkpoints are committed
 * or put back. Every step looks first, so a crash in between only means that the caller asks once more; without notes, or
 * in a QEMU that was started since, what is there is found by its names.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { QmpClient } from '../qmp.ts';
import { endCheckpoints } from './checkpoints.ts';
import { removeNodes } from './freeze-graph.ts';
import { diskOfExport } from './node-names.ts';
import { rescueSnapshot } from './rescue.ts';
import { allDisksOf } from './vm-disks.ts';
import { removeExports } from './vm-exports.ts';
import type { VmSite } from './vm-site.ts';
import type { VmSnapshotState } from './vm-snapshot-state.ts';

type Outcome = 'committed' | 'discarded';

/** Once giving back has begun, its first outcome holds. */
export async function releaseVmSnapshot(
  site: VmSite,
  snapshotId: string,
  vmId: string,
  outcome: Outcome,
): Promise<void> {
  const { states, vms } = site;
  const known = await states.read(snapshotId);
  if (known === undefined) {
    await withdraw(site, { snapshotId, vmId }, outcome);
    return;
  }
  // One that never stood was never told of, so there is nothing to commit.
  const releasing = known.releasing ?? (known.standing === null ? 'discarded' : outcome);
  const state = { ...known, releasing };
  await states.write(state);
  await withdraw(site, await rescueSnapshot(vms, states, state), releasing);
}

/** Takes everything of a snapshot out of the VM, if that still runs, and forgets it. */
export async function withdraw(
  site: VmSite,
  { snapshotId, vmId }: Pick<VmSnapshotState, 'snapshotId' | 'vmId'>,
  outcome: Outcome,
): Promise<void> {
  if (await site.vms.isRunning(vmId)) {
    await site.vms.tell(vmId, (qmp) => takeOut(qmp, snapshotId, outcome));
  } else {
    await rm(site.vms.nbdSocketOf(vmId), { force: true });
  }
  const scratch = await readdir(site.scratchFolder).catch(() => []);
  for (const file of scratch) {
    if (file.startsWith(`${snapshotId}.`)) await rm(join(site.scratchFolder, file), { force: true });
  }
  await site.states.forget(snapshotId);
}

async function takeOut(qmp: QmpClient, snapshotId: string, outcome: Outcome): Promise<void> {
  await removeExports(qmp, (id) => diskOfExport(id)?.snapshotId === snapshotId);
  for (const disk of await allDisksOf(qmp)) {
    await removeNodes(qmp, { snapshotId, diskId: disk.diskId }, disk);
    await endCheckpoints(qmp, disk, snapshotId, outcome);
  }
}

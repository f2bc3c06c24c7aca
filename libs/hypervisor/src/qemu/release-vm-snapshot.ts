/**
 * Gives the snapshot of a running VM back: exports, frozen disks, filters and scratch files go, and the checkpoints are committed
 * or put back. Every step looks first, so a crash in between only means that the caller asks once more; without notes, or
 * in a QEMU that was started since, what is there is found by its names.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { QmpClient } from '../qmp.ts';
import { endCheckpoints, hasCheckpointOf } from './checkpoints.ts';
import { removeNodes } from './freeze-graph.ts';
import { diskOfExport } from './node-names.ts';
import { rescueSnapshot } from './rescue.ts';
import { allDisksOf, allNodesOf } from './vm-disks.ts';
import { allExportIds, removeExports } from './vm-exports.ts';
import type { VmSite } from './vm-site.ts';
import type { VmSnapshotState } from './vm-snapshot-state.ts';

type Outcome = 'committed' | 'discarded';
type Withdrawn = Pick<VmSnapshotState, 'snapshotId' | 'vmId'> & { readonly disks?: VmSnapshotState['disks'] };

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

/** Takes everything of a snapshot out of the VM, if that still runs, and forgets it. `disks`: those that the notes name, if there are any. */
export async function withdraw(
  site: VmSite,
  { snapshotId, vmId, disks = [] }: Withdrawn,
  outcome: Outcome,
): Promise<void> {
  const found = await readdir(site.scratchFolder).catch(() => []);
  const scratch = found.filter((file) => file.startsWith(`${snapshotId}.`));
  if (await site.vms.isRunning(vmId)) {
    const filled = scratch.map((file) => file.slice(snapshotId.length + 1).split('.')[0] ?? '');
    const diskIds = [...disks.map(({ diskId }) => diskId), ...filled];
    await site.vms.tell(vmId, (qmp) => takeOut(qmp, snapshotId, diskIds, outcome));
  } else {
    await rm(site.vms.nbdSocketOf(vmId), { force: true });
  }
  for (const file of scratch) await rm(join(site.scratchFolder, file), { force: true });
  await site.states.forget(snapshotId);
}

/** `diskIds`: of disks that may be the snapshot's, as far as is known. One that was unplugged meanwhile still has filter and scratch. */
async function takeOut(
  qmp: QmpClient,
  snapshotId: string,
  diskIds: readonly string[],
  outcome: Outcome,
): Promise<void> {
  const served = (await allExportIds(qmp)).map(diskOfExport).filter((key) => key?.snapshotId === snapshotId);
  await removeExports(qmp, (id) => diskOfExport(id)?.snapshotId === snapshotId);
  const disks = await allDisksOf(qmp);
  for (const disk of disks) {
    await removeNodes(qmp, { snapshotId, diskId: disk.diskId }, disk);
    await endCheckpoints(qmp, disk, snapshotId, outcome);
  }
  // Before its filter goes, which is all that keeps the image of such a disk open: bitmaps in it would be kept there.
  for (const node of await allNodesOf(qmp)) {
    const isOfDisk = disks.some((disk) => disk.node === node.node);
    if (!isOfDisk && hasCheckpointOf(node, snapshotId)) await endCheckpoints(qmp, node, snapshotId, outcome);
  }
  for (const diskId of new Set([...diskIds, ...served.map((key) => key?.diskId ?? '')])) {
    if (!disks.some((disk) => disk.diskId === diskId))
      await removeNodes(qmp, { snapshotId, diskId }, undefined);
  }
}

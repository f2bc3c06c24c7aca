/**
 * Looks at a running VM: its disks, where data is allocated, and what change tracking is worth against a parent restore point.
 * What QEMU knows of extents can only be asked over NBD, so a look exports the live disks, read-only and for a short
 * time; the guest's path is not touched. One whose process dies is taken away by the next.
 */
import { randomBytes } from 'node:crypto';
import { type ChangeTracking, exportUri, type Inspection, type RestorePoint } from '@backhaul/contracts';
import { ok, type Result, refuse, withDeadline } from '@backhaul/kernel';
import { CHECKPOINT_PREFIX, type Judgement, parentOf } from '../directory/change-tracking.ts';
import { measure } from '../measure-export.ts';
import type { QmpClient } from '../qmp.ts';
import { copyBitmap, judge, removeBitmap } from './checkpoints.ts';
import { diskDetectingZeroes } from './quirks.ts';
import { allDisksOf, disksOf, type VmDisk } from './vm-disks.ts';
import { addExports, isExpiredLook, lookId, removeExports } from './vm-exports.ts';
import { nbdEndpointAt, type VmSite } from './vm-site.ts';

const LOOK_MILLISECONDS = 120_000;

interface Looked {
  readonly disk: VmDisk;
  readonly judgement: Judgement;
}

export async function inspectVm(
  site: VmSite,
  vmId: string,
  parent: RestorePoint | null,
): Promise<Result<Inspection>> {
  const there = await site.vms.require(vmId);
  if (!there.ok) return there;
  const look = lookId(Date.now() + 2 * LOOK_MILLISECONDS, randomBytes(4).toString('hex'));
  try {
    const begun = await site.vms.tell(vmId, (qmp) => begin(site, qmp, vmId, parent, look));
    if (!begun.ok) return begun;
    const endpoint = nbdEndpointAt(site.vms.nbdSocketOf(vmId));
    const disks = await withDeadline(`The look at ${site.vms.nameOf(vmId)}`, LOOK_MILLISECONDS, async () => {
      const inspected: Inspection['disks'] = [];
      for (const one of begun.value) {
        inspected.push(await inspectDisk(exportUri(endpoint, exportOf(look, one.disk)), look, one));
      }
      return inspected;
    });
    const available = { available: true };
    return ok({
      hostId: site.hostId,
      vmId,
      disks,
      modes: { 'proxy-vm': available, 'direct-to-host': available },
    });
  } finally {
    if (await site.vms.isRunning(vmId)) {
      await site.vms.tell(vmId, (qmp) => takeAway(qmp, (id) => id.startsWith(look)));
    }
  }
}

const exportOf = (look: string, { diskId }: VmDisk): string => `${look}${diskId}`;
/** `backhaul-look.<until>.<nonce>.`: a bitmap of that name is no checkpoint. */
const bitmapOf = (look: string): string => look;

async function begin(
  site: VmSite,
  qmp: QmpClient,
  vmId: string,
  parent: RestorePoint | null,
  look: string,
): Promise<Result<Looked[]>> {
  await takeAway(qmp, (id) => isExpiredLook(id, Date.now()));
  const disks = await disksOf(qmp, vmId);
  if (!disks.ok) return disks;
  const detects = diskDetectingZeroes(qmp.version, vmId, disks.value);
  if (detects !== undefined) return refuse(detects);
  const looked: Looked[] = [];
  for (const disk of disks.value) {
    const judgement = judge(disk, parentOf(parent, disk.diskId));
    const usable = judgement.state === 'usable';
    if (usable) await copyBitmap(qmp, disk, judgement.checkpoint, bitmapOf(look));
    const name = exportOf(look, disk);
    const bitmap = usable ? { node: disk.node, name: bitmapOf(look) } : null;
    await addExports(qmp, site.vms.nbdSocketOf(vmId), [{ id: name, name, node: disk.node, bitmap }]);
    looked.push({ disk, judgement });
  }
  return ok(looked);
}

async function inspectDisk(
  uri: string,
  look: string,
  { disk, judgement }: Looked,
): Promise<Inspection['disks'][number]> {
  const { diskId, sizeBytes, identity } = disk;
  const usable = judgement.state === 'usable';
  const { allocated, changed } = await measure(uri, sizeBytes, usable ? bitmapOf(look) : null);
  const tracking: ChangeTracking = usable ? { ...judgement, changed } : judgement;
  return { diskId, sizeBytes, identity, allocated, tracking };
}

/** Takes away the exports and bitmaps of looks. */
async function takeAway(qmp: QmpClient, isDue: (id: string) => boolean): Promise<void> {
  await removeExports(qmp, isDue);
  for (const disk of await allDisksOf(qmp)) {
    for (const { name } of disk.bitmaps) {
      if (name.startsWith(`${CHECKPOINT_PREFIX}look.`) && isDue(name)) await removeBitmap(qmp, disk, name);
    }
  }
}

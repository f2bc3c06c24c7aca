/**
 * Looks at a running VM: its disks, where data is allocated, and what change tracking is worth against a parent restore point.
 * What QEMU knows of extents can only be asked over NBD, so a look exports the live disks, read-only and for as
 * long as it takes (look-lease.ts); the guest's path is not touched. One whose process dies is taken away by the next.
 */
import { type ChangeTracking, exportUri, type Inspection, type RestorePoint } from '@backhaul/contracts';
import { formatBytes, ok, type Result, refuse } from '@backhaul/kernel';
import { type Judgement, parentOf } from '../directory/change-tracking.ts';
import type { Looking } from '../host.ts';
import { measure, type OnLooked } from '../measure-export.ts';
import type { QmpClient } from '../qmp.ts';
import { copyBitmap, judge } from './checkpoints.ts';
import { endExpiredLooks, LookLease } from './look-lease.ts';
import { diskDetectingZeroes } from './quirks.ts';
import { disksOf, type VmDisk } from './vm-disks.ts';
import { addExports } from './vm-exports.ts';
import { nbdEndpointAt, type VmSite } from './vm-site.ts';

interface Looked {
  readonly disk: VmDisk;
  readonly judgement: Judgement;
}

/** Throws the signal's reason when it aborts. */
export async function inspectVm(
  site: VmSite,
  vmId: string,
  parent: RestorePoint | null,
  { signal, onProgress }: Looking = {},
): Promise<Result<Inspection>> {
  const there = await site.vms.require(vmId);
  if (!there.ok) return there;
  const lease = new LookLease(Date.now());
  try {
    const begun = await site.vms.tell(vmId, (qmp) => begin(site, qmp, vmId, parent, lease.id));
    if (!begun.ok) return begun;
    const endpoint = nbdEndpointAt(site.vms.nbdSocketOf(vmId));
    const disks: Inspection['disks'] = [];
    for (const one of begun.value) {
      disks.push(
        await inspectDisk(exportUri(endpoint, exportOf(lease.id, one.disk)), lease.id, one, (what, bytes) => {
          signal?.throwIfAborted();
          const doing = () => doingNow(site.vms.nameOf(vmId), one.disk, what, bytes);
          if (!lease.isDue(Date.now(), doing)) return undefined;
          onProgress?.(doing());
          return site.vms.tell(vmId, (qmp) => lease.renew(qmp, one.disk, Date.now()));
        }),
      );
    }
    const available = { available: true };
    return ok({
      hostId: site.hostId,
      vmId,
      disks,
      modes: { 'proxy-vm': available, 'direct-to-host': available },
    });
  } finally {
    if (await site.vms.isRunning(vmId)) await site.vms.tell(vmId, (qmp) => lease.end(qmp));
  }
}

const doingNow = (vm: string, { diskId, sizeBytes }: VmDisk, what: string, bytes: number): string =>
  `The look at ${vm} (${what} of disk ${diskId}, ${formatBytes(bytes)} of ${formatBytes(sizeBytes)})`;

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
  await endExpiredLooks(qmp, Date.now());
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
  onLooked: OnLooked,
): Promise<Inspection['disks'][number]> {
  const { diskId, sizeBytes, identity } = disk;
  const usable = judgement.state === 'usable';
  const { allocated, changed } = await measure(uri, sizeBytes, usable ? bitmapOf(look) : null, onLooked);
  const tracking: ChangeTracking = usable ? { ...judgement, changed } : judgement;
  return { diskId, sizeBytes, identity, allocated, tracking };
}

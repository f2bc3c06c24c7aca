/**
 * Looks at a VM without touching it: the health and size of its images, where data is allocated, and what change
 * tracking is worth against a parent restore point. Memory and time follow the number of extents, not the disk size.
 */
import type { ChangeTracking, Density, Inspection, RestorePoint } from '@backhaul/contracts';
import { exportUri } from '@backhaul/contracts';
import { ok, type Result } from '@backhaul/kernel';
import { connectNbd, STATE_DIRTY, STATE_ZERO } from '@backhaul/nbd';
import type { QmpClient } from '../qmp.ts';
import { exportDisk, exportNameOf, type GraphDisk, openDisk } from './block-graph.ts';
import { judgeTracking, type ParentDisk } from './change-tracking.ts';
import { countDensity } from './density.ts';
import { type ImageFile, imagesOf } from './folder.ts';
import { checkImage, type ImageFacts, readImage } from './image-file.ts';
import { orHeld } from './image-lock.ts';
import { withTransientDaemon } from './transient-daemon.ts';

type InspectedDisk = Inspection['disks'][number];

export interface InspectionSite {
  readonly hostId: string;
  readonly folder: string;
  /** Where a look may put its sockets. */
  readonly looksFolder: string;
}

/** Throws ImageHeld while another process writes to one of the images. */
export async function inspectVm(
  site: InspectionSite,
  vmId: string,
  parent: RestorePoint | null,
): Promise<Result<Inspection>> {
  const images = await imagesOf(site.folder, vmId);
  if (!images.ok) return images;
  const healthy: { image: ImageFile; facts: ImageFacts }[] = [];
  for (const image of images.value) {
    const facts = await readImage(image);
    if (!facts.ok) return facts;
    const health = await checkImage(image);
    if (!health.ok) return health;
    healthy.push({ image, facts: facts.value });
  }
  const what = `the look at VM ${vmId} of host ${site.hostId}`;
  const disks: InspectedDisk[] = [];
  return await withTransientDaemon(site.looksFolder, what, async (qmp, endpoint) => {
    for (const { image, facts } of healthy) {
      disks.push(await inspectDisk(qmp, endpoint, image, facts, parentOf(parent, image.diskId)));
    }
    const available = { available: true };
    const modes = { 'proxy-vm': available, 'direct-to-host': available };
    return ok({ hostId: site.hostId, vmId, disks, modes });
  });
}

function parentOf(parent: RestorePoint | null, diskId: string): ParentDisk | null | undefined {
  return parent === null ? undefined : (parent.disks.find((disk) => disk.diskId === diskId) ?? null);
}

async function inspectDisk(
  qmp: QmpClient,
  endpoint: string,
  image: ImageFile,
  facts: ImageFacts,
  parent: ParentDisk | null | undefined,
): Promise<InspectedDisk> {
  const disk: GraphDisk = { ...image, snapshotId: 'look' };
  const opened = await orHeld(image, () => openDisk(qmp, disk));
  const judgement = judgeTracking({ ...facts, diskId: image.diskId, bitmaps: opened.bitmaps }, parent);
  const checkpoint = judgement.state === 'usable' ? judgement.checkpoint : null;
  await orHeld(image, () => exportDisk(qmp, disk, checkpoint));
  const uri = exportUri(endpoint, exportNameOf(disk));
  const { allocated, changed } = await measure(uri, facts.sizeBytes, checkpoint);
  const tracking: ChangeTracking = judgement.state === 'usable' ? { ...judgement, changed } : judgement;
  const { sizeBytes, identity } = facts;
  return { diskId: image.diskId, sizeBytes, identity, allocated, tracking };
}

/** The metadata context under which QEMU serves the dirty extents of a bitmap. */
export const changedContextOf = (bitmap: string): string => `qemu:dirty-bitmap:${bitmap}`;

async function measure(
  uri: string,
  sizeBytes: number,
  checkpoint: string | null,
): Promise<{ allocated: Density; changed: Density }> {
  const allocated = countDensity(sizeBytes);
  const changed = countDensity(sizeBytes);
  const contexts = ['base:allocation', ...(checkpoint === null ? [] : [changedContextOf(checkpoint)])];
  const client = sizeBytes === 0 ? undefined : await connectNbd({ uri, contexts });
  try {
    for await (const run of client?.blockStatus('base:allocation', 0, sizeBytes) ?? []) {
      // A hole that is not known to be zero has undefined contents: it has to be read.
      if ((run.flags & STATE_ZERO) === 0) allocated.add(run.offset, run.length);
    }
    if (client !== undefined && checkpoint !== null) {
      for await (const run of client.blockStatus(changedContextOf(checkpoint), 0, sizeBytes)) {
        if ((run.flags & STATE_DIRTY) !== 0) changed.add(run.offset, run.length);
      }
    }
  } finally {
    await client?.close();
  }
  return { allocated: allocated.result(), changed: changed.result() };
}

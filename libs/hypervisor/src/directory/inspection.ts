/**
 * Looks at a VM without touching it: the health and size of its images, where data is allocated, and what change
 * tracking is worth against a parent restore point. Memory and time follow the number of extents, not the disk size.
 */
import type { ChangeTracking, Inspection, RestorePoint } from '@backhaul/contracts';
import { exportUri } from '@backhaul/contracts';
import { ok, type Result } from '@backhaul/kernel';
import { measure } from '../measure-export.ts';
import type { QmpClient } from '../qmp.ts';
import { exportDisk, exportNameOf, type GraphDisk, openDisk } from './block-graph.ts';
import { judgeTracking, type ParentDisk, parentOf } from './change-tracking.ts';
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

async function inspectDisk(
  qmp: QmpClient,
  endpoint: string,
  image: ImageFile,
  facts: ImageFacts,
  parent: ParentDisk | null | undefined,
): Promise<InspectedDisk> {
  const disk: GraphDisk = { ...image, ownerId: 'look' };
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

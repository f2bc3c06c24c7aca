/** A frozen disk at the port of a proxy: the port's daemon opens the image itself, and shares the lock that keeps writers out. */
import { exportDisk, exportNameOf, exportNames, type GraphDisk, openDisk } from './block-graph.ts';
import { orHeld } from './image-lock.ts';
import type { PortDisk } from './proxies.ts';

export const frozenPortDisk = (disk: GraphDisk): PortDisk => ({
  ownerId: disk.ownerId,
  diskId: disk.diskId,
  isServed: async (qmp) => (await exportNames(qmp)).includes(exportNameOf(disk)),
  serve: (qmp) =>
    orHeld(disk, async () => {
      await openDisk(qmp, disk);
      await exportDisk(qmp, disk, null);
    }),
});

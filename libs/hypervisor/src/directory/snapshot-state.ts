/**
 * What is known of a snapshot between calls, and after a crash: one file per snapshot, written before each step says
 * what the step is about to do. No file: there is no snapshot, and no bitmap, process or socket of one.
 */
import { Name, SnapshotDisk } from '@backhaul/contracts';
import { z } from 'zod';
import { NotedThings } from '../noted-things.ts';
import type { GraphDisk } from './block-graph.ts';
import { FileMark } from './image-file.ts';
import type { StorageDaemon } from './storage-daemon.ts';

const FrozenImage = z.object({
  diskId: Name,
  path: z.string(),
  format: z.enum(['raw', 'qcow2']),
  /** The file's own inode, so that another file under the same name is never taken for it. */
  inode: z.string(),
  /** The bitmap that this snapshot starts in the image, or null where it starts none. */
  checkpoint: z.string().nullable(),
});
export type FrozenImage = z.infer<typeof FrozenImage>;

const Standing = z.object({
  takenAt: z.string(),
  disks: z.array(SnapshotDisk),
  /** Per disk: the bitmap served beside the data, and the file as it was when the server had its lock on it. */
  served: z.array(z.object({ diskId: Name, bitmap: z.string().nullable(), file: FileMark })),
});
export type Standing = z.infer<typeof Standing>;

export const SnapshotState = z.object({
  schema: z.literal(1),
  snapshotId: z.string(),
  vmId: Name,
  images: z.array(FrozenImage),
  /** Null while it is being taken: bitmaps may have been added, and a server may run; nobody was told of it yet. */
  standing: Standing.nullable(),
  /** Set once giving back has begun: there is no way back from there. */
  releasing: z.enum(['committed', 'discarded']).nullable(),
});
export type SnapshotState = z.infer<typeof SnapshotState>;

export class SnapshotStates extends NotedThings<typeof SnapshotState> {
  constructor(folder: string) {
    super(folder, 'snapshot', SnapshotState, ({ snapshotId }) => snapshotId);
  }

  /** The snapshot's server: every disk by its export name, for as many clients as come. */
  serverOf(snapshotId: string): StorageDaemon {
    return {
      what: `the server of snapshot ${snapshotId}`,
      folder: this.folderOf(snapshotId),
      name: 'host',
      connectionsMax: 0,
    };
  }
}

export const graphDisk = (state: SnapshotState, image: FrozenImage): GraphDisk => ({
  ownerId: state.snapshotId,
  diskId: image.diskId,
  path: image.path,
  format: image.format,
});

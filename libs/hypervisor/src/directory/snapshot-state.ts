/**
 * What is known of a snapshot between calls, and after a crash: one file per snapshot, written before each step says
 * what the step is about to do. No file: there is no snapshot, and no bitmap, process or socket of one.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Name, SnapshotDisk } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import { readState, removeFolder, writeState } from '../state-file.ts';
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

export class SnapshotStates {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  folderOf(snapshotId: string): string {
    requireId('snapshot', snapshotId);
    return join(this.#folder, snapshotId);
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

  async read(snapshotId: string): Promise<SnapshotState | undefined> {
    return await readState(join(this.folderOf(snapshotId), 'snapshot.json'), SnapshotState);
  }

  async write(state: SnapshotState): Promise<void> {
    await writeState(join(this.folderOf(state.snapshotId), 'snapshot.json'), state);
  }

  /** The last step of giving back. */
  async forget(snapshotId: string): Promise<void> {
    await removeFolder(this.folderOf(snapshotId));
  }

  async all(): Promise<SnapshotState[]> {
    const ids = await readdir(this.#folder).catch(() => []);
    const states = await Promise.all(ids.map((id) => this.read(id)));
    return states.filter((state) => state !== undefined);
  }
}

export const graphDisk = (state: SnapshotState, image: FrozenImage): GraphDisk => ({
  snapshotId: state.snapshotId,
  diskId: image.diskId,
  path: image.path,
  format: image.format,
});

/** Ids become folders and export names. */
export function requireId(what: string, id: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(id)) return;
  throw new Fault(`"${id}" cannot be the id of a ${what}: it has to be usable as the name of a folder`, {
    permanent: true,
    code: 'IdUnusable',
  });
}

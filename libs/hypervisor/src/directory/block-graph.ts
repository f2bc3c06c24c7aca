/**
 * How an image at rest is opened, and exported, in a storage daemon: always read-only, and always so that QEMU's own image
 * lock keeps writers out for as long as the export stands. That lock is the freeze. (How one is written: ../target-server.ts.)
 *
 * The qcow2 driver refuses to share its file with a writer. The raw driver would share it, so a copy-before-write filter
 * stands above a raw image: it declares that nobody else may write below it (that is its purpose), never copies anything
 * because nothing is written, and hands reads straight on. Its target is a null device of the same size.
 */
import { derivedId } from '@backhaul/kernel';
import { z } from 'zod';
import type { QmpClient } from '../qmp.ts';

export type ImageFormat = 'raw' | 'qcow2';

export interface GraphDisk {
  /** The snapshot, the target or the look that it is a disk of. */
  readonly ownerId: string;
  readonly diskId: string;
  readonly path: string;
  readonly format: ImageFormat;
}

/** How the disk is asked for over NBD, wherever it is exported. Neither part can hold a dot that confuses them. */
export const exportNameOf = (disk: DiskKey): string => `${disk.ownerId}.${disk.diskId}`;
const exportIdOf = (exportName: string): string => `export-${exportName}`;

const NodeBitmap = z.object({
  name: z.string(),
  granularity: z.int(),
  recording: z.boolean(),
  inconsistent: z.boolean().default(false),
});
export type NodeBitmap = z.infer<typeof NodeBitmap>;

const Nodes = z.array(
  z.object({
    'node-name': z.string(),
    image: z.object({ 'virtual-size': z.int() }),
    // A filter keeps bitmaps of its own, without names.
    'dirty-bitmaps': z.array(NodeBitmap.extend({ name: z.string().default('') })).default([]),
  }),
);
const Exports = z.array(z.object({ id: z.string(), 'shutting-down': z.boolean() }));

export interface OpenedDisk {
  readonly sizeBytes: number;
  readonly bitmaps: readonly NodeBitmap[];
}

/** A disk among others in a daemon, without what it takes to open it. */
export type DiskKey = Pick<GraphDisk, 'ownerId' | 'diskId'>;

/** Node names have at most 31 characters, disk names up to 63: they are derived. */
export function nodesOf(disk: DiskKey): { image: string; target: string; filter: string; remote: string } {
  const key = derivedId('node', disk.ownerId, disk.diskId).replaceAll('-', '').slice(0, 24);
  return {
    image: `image-${key}`,
    target: `none-${key}`,
    filter: `cold-${key}`,
    // Each name that begins so is the same disk at its own server (target-port-disk.ts).
    remote: `remote-${key.slice(0, 22)}`,
  };
}

/** Opens the image; nothing of it may be open yet (`closeDisk` first when in doubt). */
export async function openDisk(qmp: QmpClient, disk: GraphDisk): Promise<OpenedDisk> {
  const names = nodesOf(disk);
  await qmp.execute('blockdev-add', {
    arguments: {
      driver: disk.format,
      'node-name': names.image,
      'read-only': true,
      'auto-read-only': false,
      file: {
        driver: 'file',
        filename: disk.path,
        'read-only': true,
        'auto-read-only': false,
        locking: 'on',
      },
    },
  });
  const found = (await nodes(qmp)).find((node) => node['node-name'] === names.image);
  const opened = { sizeBytes: found?.image['virtual-size'] ?? 0, bitmaps: found?.['dirty-bitmaps'] ?? [] };
  if (disk.format === 'raw') {
    await qmp.execute('blockdev-add', {
      arguments: { driver: 'null-co', 'node-name': names.target, size: opened.sizeBytes },
    });
    await qmp.execute('blockdev-add', {
      arguments: {
        driver: 'copy-before-write',
        'node-name': names.filter,
        'read-only': true,
        file: names.image,
        target: names.target,
      },
    });
  }
  return opened;
}

/** From now on no writer gets in. With `bitmap`, its dirty extents are served beside the data. */
export async function exportDisk(qmp: QmpClient, disk: GraphDisk, bitmap: string | null): Promise<void> {
  const name = exportNameOf(disk);
  const { image, filter } = nodesOf(disk);
  const bitmaps = bitmap === null ? [] : [bitmap];
  await exportNode(qmp, disk.format === 'raw' ? filter : image, { name, writable: false, bitmaps });
}

export async function exportNode(
  qmp: QmpClient,
  nodeName: string,
  { name, writable, bitmaps }: { name: string; writable: boolean; bitmaps: readonly string[] },
): Promise<void> {
  await qmp.execute('block-export-add', {
    arguments: {
      type: 'nbd',
      id: exportIdOf(name),
      'node-name': nodeName,
      name,
      writable,
      ...(bitmaps.length === 0 ? {} : { bitmaps }),
    },
  });
}

/** Names of the exports that are served. */
export async function exportNames(qmp: QmpClient): Promise<string[]> {
  const found = await qmp.execute('query-block-exports', { reply: Exports });
  return found
    .filter((one) => !one['shutting-down'] && one.id.startsWith('export-'))
    .map((one) => one.id.slice('export-'.length));
}

/** Takes the export away from whoever still uses it, and closes the image. What is not there is gone already. */
export async function closeDisk(qmp: QmpClient, disk: DiskKey, milliseconds: number): Promise<void> {
  await endExport(qmp, exportIdOf(exportNameOf(disk)), milliseconds);
  const { filter, target, image, remote } = nodesOf(disk);
  const present = await nodeNames(qmp);
  const own = [filter, target, image, ...present.filter((name) => name.startsWith(remote))];
  for (const name of own) {
    if (present.includes(name)) await qmp.execute('blockdev-del', { arguments: { 'node-name': name } });
  }
}

/** Cuts its clients off, and sees to it that nothing they sent is still under way. */
async function endExport(qmp: QmpClient, id: string, milliseconds: number): Promise<void> {
  const deleted = qmp.waitForEvent('BLOCK_EXPORT_DELETED', (data) => data.id === id, milliseconds);
  deleted.catch(() => undefined);
  const found = await qmp.execute('query-block-exports', { reply: Exports });
  const standing = found.find((one) => one.id === id);
  if (standing === undefined) return;
  if (!standing['shutting-down']) {
    await qmp.execute('block-export-del', { arguments: { id, mode: 'hard' } });
  }
  await deleted;
}

export const nodeNames = async (qmp: QmpClient): Promise<string[]> =>
  (await nodes(qmp)).map((node) => node['node-name']);

const nodes = (qmp: QmpClient): Promise<z.infer<typeof Nodes>> =>
  qmp.execute('query-named-block-nodes', { arguments: { flat: true }, reply: Nodes });

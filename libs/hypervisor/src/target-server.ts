/**
 * The server of a target: one storage daemon that has all its images open, alone and writable, and serves them to whoever writes
 * them: proxies, and direct clients. A flush that a client sees answered is in the file.
 *
 * QEMU's NBD client connects again by itself when its server comes back, and then flushes with success what the first
 * server never had on disk. So nobody may be attached when a server is started anew: the host sees to that before it asks.
 */
import { derivedId } from '@backhaul/kernel';
import { z } from 'zod';
import {
  endDaemon,
  isDaemonRunning,
  type StorageDaemon,
  startDaemon,
  tellDaemon,
} from './directory/storage-daemon.ts';
import type { QmpClient } from './qmp.ts';

export interface TargetImage {
  readonly targetId: string;
  readonly diskId: string;
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
}
type ImageKey = Pick<TargetImage, 'targetId' | 'diskId'>;

const START_MILLISECONDS = 30_000;
/** What was written and not flushed goes to the disk when an image is closed, and a disk may be slow. */
const CLOSE_MILLISECONDS = 600_000;

const Exports = z.array(z.object({ id: z.string(), 'shutting-down': z.boolean() }));
const Nodes = z.array(z.object({ 'node-name': z.string() }));

/** How the disk is asked for over NBD. Names of disks hold no dot. */
export const targetExportOf = ({ targetId, diskId }: ImageKey): string => `${targetId}.${diskId}`;
const exportIdOf = (image: ImageKey): string => `target-${targetExportOf(image)}`;
/** Node names have at most 31 characters. */
const nodeOf = ({ targetId, diskId }: ImageKey): string =>
  `target-${derivedId('node', targetId, diskId).replaceAll('-', '').slice(0, 24)}`;

/** Brings the server up, with every image served. What is served already is left as it is. */
export async function serveTarget(server: StorageDaemon, images: readonly TargetImage[]): Promise<void> {
  await startDaemon(server, START_MILLISECONDS);
  await tellDaemon(server, async (qmp) => {
    const served = await servedIds(qmp);
    for (const image of images) {
      if (served.has(exportIdOf(image))) continue;
      await close(qmp, image);
      await open(qmp, image);
    }
  });
}

/** Undefined while the server runs and serves every image; else what is wrong. */
export async function whyTargetNotServed(
  server: StorageDaemon,
  images: readonly ImageKey[],
): Promise<string | undefined> {
  if (!(await isDaemonRunning(server))) return `${server.what} is gone`;
  const served = await tellDaemon(server, servedIds);
  const missing = images.filter((image) => !served.has(exportIdOf(image))).map(({ diskId }) => diskId);
  return missing.length === 0 ? undefined : `${server.what} does not serve disk ${missing.join(', ')}`;
}

/** Takes the images from everybody, closes them with all that was written on disk, and ends the server. None is success. */
export async function closeTarget(server: StorageDaemon, images: readonly ImageKey[]): Promise<void> {
  if (await isDaemonRunning(server)) {
    await tellDaemon(server, async (qmp) => {
      for (const image of images) await close(qmp, image);
    });
  }
  await endDaemon(server);
}

async function servedIds(qmp: QmpClient): Promise<Set<string>> {
  const found = await qmp.execute('query-block-exports', { reply: Exports });
  return new Set(found.filter((one) => !one['shutting-down']).map(({ id }) => id));
}

async function open(qmp: QmpClient, image: TargetImage): Promise<void> {
  await qmp.execute('blockdev-add', {
    arguments: {
      driver: image.format,
      'node-name': nodeOf(image),
      // Zeroes that are written stay the holes that they are.
      discard: 'unmap',
      'detect-zeroes': 'unmap',
      file: { driver: 'file', filename: image.path, discard: 'unmap', locking: 'on' },
    },
  });
  await qmp.execute('block-export-add', {
    arguments: {
      type: 'nbd',
      id: exportIdOf(image),
      'node-name': nodeOf(image),
      name: targetExportOf(image),
      writable: true,
    },
  });
}

/** What is not there is closed already. */
async function close(qmp: QmpClient, image: ImageKey): Promise<void> {
  const id = exportIdOf(image);
  const deleted = qmp.waitForEvent('BLOCK_EXPORT_DELETED', (data) => data.id === id, CLOSE_MILLISECONDS);
  deleted.catch(() => undefined);
  const standing = (await qmp.execute('query-block-exports', { reply: Exports })).find(
    (one) => one.id === id,
  );
  if (standing !== undefined) {
    if (!standing['shutting-down'])
      await qmp.execute('block-export-del', {
        arguments: { id, mode: 'hard' },
        milliseconds: CLOSE_MILLISECONDS,
      });
    await deleted;
  }
  const nodes = await qmp.execute('query-named-block-nodes', { arguments: { flat: true }, reply: Nodes });
  if (!nodes.some((node) => node['node-name'] === nodeOf(image))) return;
  await qmp.execute('blockdev-del', {
    arguments: { 'node-name': nodeOf(image) },
    milliseconds: CLOSE_MILLISECONDS,
  });
}

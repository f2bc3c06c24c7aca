/**
 * The disks of a running VM, as QEMU tells of them: what the guest's devices read and write, seen past the filters that a
 * snapshot puts in between. CD-ROMs, empty drives and firmware are left out.
 */
import type { ImageIdentity } from '@backhaul/contracts';
import { Name } from '@backhaul/contracts';
import { ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { z } from 'zod';
import type { NodeBitmap } from '../directory/block-graph.ts';
import { filesOf } from '../directory/image-files.ts';
import type { QmpClient } from '../qmp.ts';
import { storageOf } from '../storage-of.ts';
import { isOwnNode } from './node-names.ts';
import { diskInIothread } from './quirks.ts';

const Image = z.object({
  filename: z.string(),
  'virtual-size': z.int(),
  get 'backing-image'() {
    return Image.optional();
  },
  'format-specific': z
    .object({ data: z.object({ compat: z.string().optional(), 'data-file': z.string().optional() }) })
    .optional(),
});
type Image = z.infer<typeof Image>;

const Bitmap = z.object({
  // A filter keeps bitmaps of its own, without names.
  name: z.string().default(''),
  granularity: z.int(),
  recording: z.boolean(),
  busy: z.boolean(),
  inconsistent: z.boolean().default(false),
});

const Bitmapped = z.array(
  z.object({ 'node-name': z.string(), 'dirty-bitmaps': z.array(Bitmap).default([]) }),
);

const named = (bitmaps: readonly z.infer<typeof Bitmap>[]) => bitmaps.filter(({ name }) => name !== '');

const Nodes = z.array(
  z.object({
    'node-name': z.string(),
    drv: z.string(),
    ro: z.boolean(),
    detect_zeroes: z.string().default('off'),
    image: Image,
    'dirty-bitmaps': z.array(Bitmap).default([]),
  }),
);

const Drives = z.array(
  z.object({
    device: z.string(),
    qdev: z.string().optional(),
    removable: z.boolean(),
    inserted: z.object({ 'node-name': z.string() }).optional(),
  }),
);

const Graph = z.object({
  nodes: z.array(z.object({ id: z.int(), name: z.string() })),
  edges: z.array(z.object({ parent: z.int(), child: z.int(), name: z.string() })),
});

export interface VmDisk {
  readonly diskId: string;
  /** The device in QEMU's object tree; its property `drive` says what it reads and writes. */
  readonly device: string;
  /** The node that the device uses now. */
  readonly rootNode: string;
  /** The node that holds the guest's data, below the filters of a snapshot. */
  readonly node: string;
  readonly format: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** The image turns zeroes that are written into zero clusters by itself. */
  readonly detectsZeroes: boolean;
  readonly identity: ImageIdentity;
  /** Where its bytes lie; undefined where its image is no file here. */
  readonly storage: string | undefined;
  /** Its bitmaps outlive the QEMU process: they are kept in the image. */
  readonly keepsBitmaps: boolean;
  readonly bitmaps: readonly (NodeBitmap & { readonly busy: boolean })[];
}

/** Refuses what cannot be backed up without harm: no disks, two disks of one name, a disk that an I/O thread serves. */
export async function disksOf(qmp: QmpClient, vmId: string): Promise<Result<VmDisk[]>> {
  const disks = await allDisksOf(qmp);
  if (disks.length === 0)
    return refuse({ code: 'NoDisks', message: `VM ${vmId} has no disks that hold data.` });
  const unusable = disks.find(
    ({ diskId }) =>
      !Name.safeParse(diskId).success || disks.filter((one) => one.diskId === diskId).length > 1,
  );
  if (unusable !== undefined) return refuse(nameUnusable(vmId, unusable.diskId));
  const harmed = await diskInIothread(qmp, vmId, disks);
  return harmed === undefined ? ok(disks) : refuse(harmed);
}

/** Every disk in the order of the names, usable or not. */
export async function allDisksOf(qmp: QmpClient): Promise<VmDisk[]> {
  const nodes = await qmp.execute('query-named-block-nodes', { reply: Nodes });
  const drives = await qmp.execute('query-block', { reply: Drives });
  const graph = await qmp.execute('x-debug-query-block-graph', { reply: Graph });
  const disks: VmDisk[] = [];
  for (const { device: drive, qdev, removable, inserted } of drives) {
    if (qdev === undefined || removable || inserted === undefined || qdev.includes('/system.flash')) continue;
    const rootNode = inserted['node-name'];
    const node = nodes.find((one) => one['node-name'] === belowOwnFilters(graph, rootNode));
    if (node === undefined) continue;
    const diskId = diskIdOf(qdev, drive);
    const sizeBytes = node.image['virtual-size'];
    const specific = node.image['format-specific']?.data;
    disks.push({
      diskId,
      device: qdev.startsWith('/') ? qdev : `/machine/peripheral/${qdev}`,
      rootNode,
      node: node['node-name'],
      format: node.drv,
      sizeBytes,
      readOnly: node.ro,
      detectsZeroes: node.detect_zeroes !== 'off',
      identity: { format: node.drv, inode: await identityOf(node.image), sizeBytes },
      storage: await storageOf(node.image.filename),
      keepsBitmaps:
        node.drv === 'qcow2' && specific?.compat === '1.1' && specific['data-file'] === undefined && !node.ro,
      bitmaps: named(node['dirty-bitmaps']),
    });
  }
  return disks.sort((a, b) => (a.diskId < b.diskId ? -1 : 1));
}

/** Every node that has a name, also those that no device uses any more. */
export async function allNodesOf(qmp: QmpClient): Promise<Pick<VmDisk, 'node' | 'bitmaps'>[]> {
  const nodes = await qmp.execute('query-named-block-nodes', { arguments: { flat: true }, reply: Bitmapped });
  return nodes.map((one) => ({ node: one['node-name'], bitmaps: named(one['dirty-bitmaps']) }));
}

function belowOwnFilters(graph: z.infer<typeof Graph>, rootNode: string): string {
  for (let name = rootNode; ; ) {
    if (!isOwnNode(name)) return name;
    const id = graph.nodes.find((node) => node.name === name)?.id;
    // A filter's data comes from its child `file` or, in a blkdebug, `image`.
    const edge = graph.edges.find(
      ({ parent, name: role }) => parent === id && (role === 'file' || role === 'image'),
    );
    const below = graph.nodes.find((node) => node.id === edge?.child)?.name;
    if (below === undefined) return name;
    name = below;
  }
}

/** The id that the administrator gave the device; else the name of its drive; else its place in the tree. */
function diskIdOf(qdev: string, drive: string): string {
  const given = qdev.startsWith('/') ? /^\/machine\/peripheral\/([^/]+)/.exec(qdev)?.[1] : qdev;
  const place = /^\/machine\/[^/]+\/([^/]+)/.exec(qdev)?.[1] ?? qdev;
  const name = given ?? (drive === '' ? place : drive);
  return name
    .replaceAll(/[^A-Za-z0-9_-]/g, '_')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 63);
}

const identityOf = (image: Image): Promise<string> => {
  const backing: string[] = [];
  for (let one = image['backing-image']; one !== undefined; one = one['backing-image'])
    backing.push(one.filename);
  return filesOf(image.filename, backing);
};

const nameUnusable = (vmId: string, diskId: string): Refusal => ({
  code: 'NameUnusable',
  message: `VM ${vmId} has a disk whose name "${diskId}" cannot be used, or is used twice.`,
  wayOut: 'Give every disk device an id of its own (device_add id=...).',
});

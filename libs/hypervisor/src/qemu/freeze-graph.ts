/**
 * What a snapshot puts around one disk of a running QEMU:
 *
 *   guest's device -> filter (copy-before-write) -> [plain ->] image         what the guest writes from now on
 *                          |                  \-> scratch                    what it overwrites
 *   NBD export <- [whole <- pieces <-] access                                the disk as it was
 *   guard: on the filter, and in nobody's way                                 the disk keeps its size
 *
 * The nodes in brackets stand where QEMU needs them (quirks.ts). When scratch space runs out, or takes too long, the frozen disk
 * breaks and the guest writes on (`on-cbw-error=break-snapshot`). Every step looks first, so it can be done again.
 */
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import type { QmpClient } from '../qmp.ts';
import { type DiskKey, nodesOf } from './node-names.ts';
import { readsMustBeCut } from './quirks.ts';
import type { VmDisk } from './vm-disks.ts';

/** The filter's clusters: copied as a whole, read as a whole. QEMU has none smaller. */
const CLUSTER_BYTES = 65_536;
/** Longer than this no guest waits for scratch space. QEMU before 10 reads 30 s as 4 s, by an overflow, which is as good. */
const COPY_SECONDS_MAX = 30;
const EOPNOTSUPP = 95;

const Sizes = z.array(z.object({ 'node-name': z.string(), image: z.object({ 'virtual-size': z.int() }) }));

async function sizes(qmp: QmpClient): Promise<Map<string, number>> {
  const found = await qmp.execute('query-named-block-nodes', { arguments: { flat: true }, reply: Sizes });
  return new Map(found.map((node) => [node['node-name'], node.image['virtual-size']]));
}

export async function nodeNames(qmp: QmpClient): Promise<Set<string>> {
  return new Set((await sizes(qmp)).keys());
}

const add = (qmp: QmpClient, options: Record<string, unknown>): Promise<unknown> =>
  qmp.execute('blockdev-add', { arguments: options });

/** Makes the filter, beside the guest's path and not yet in it. Returns its name. */
export async function prepareFilter(
  qmp: QmpClient,
  key: DiskKey,
  disk: VmDisk,
  scratch: string,
): Promise<string> {
  const nodes = nodesOf(key);
  await add(qmp, {
    driver: 'qcow2',
    'node-name': nodes.scratch,
    file: { driver: 'file', filename: scratch },
  });
  if (readsMustBeCut(qmp.version)) {
    const refused = {
      event: 'none',
      iotype: 'write-zeroes',
      errno: EOPNOTSUPP,
      once: false,
      immediately: true,
    };
    await add(qmp, {
      driver: 'blkdebug',
      'node-name': nodes.plain,
      image: disk.node,
      'inject-error': [refused],
    });
  }
  await add(qmp, {
    driver: 'copy-before-write',
    'node-name': nodes.filter,
    file: readsMustBeCut(qmp.version) ? nodes.plain : disk.node,
    target: nodes.scratch,
    'on-cbw-error': 'break-snapshot',
    'cbw-timeout': COPY_SECONDS_MAX,
  });
  // A copy past the end of a scratch that was smaller from the beginning would end the whole QEMU.
  await requireSize(qmp, disk, [nodes.filter, nodes.scratch]);
  return nodes.filter;
}

async function requireSize(qmp: QmpClient, disk: VmDisk, names: readonly string[]): Promise<void> {
  const found = await sizes(qmp);
  if (names.some((name) => found.get(name) !== disk.sizeBytes))
    throw new Fault(`Disk ${disk.diskId} changed its size while it was being frozen`);
}

/** The frozen disk, as a node to be exported. The filter must be in the guest's path: with a parent of another kind it would refuse the guest's writes. */
export async function addAccess(qmp: QmpClient, key: DiskKey, disk: VmDisk): Promise<string> {
  const nodes = nodesOf(key);
  // Reading the frozen disk past the end of a disk that was made smaller since ends the whole QEMU.
  await add(qmp, {
    driver: 'blkdebug',
    'node-name': nodes.guard,
    image: nodes.filter,
    'unshare-child-perms': ['resize'],
  });
  await requireSize(qmp, disk, [nodes.filter]);
  await add(qmp, { driver: 'snapshot-access', 'node-name': nodes.access, file: nodes.filter });
  if (!readsMustBeCut(qmp.version)) return nodes.access;
  await add(qmp, {
    driver: 'blkdebug',
    'node-name': nodes.pieces,
    image: nodes.access,
    align: CLUSTER_BYTES,
    'max-transfer': CLUSTER_BYTES,
  });
  // Clients may still ask for single sectors: what is cut is what reaches the filter.
  await add(qmp, { driver: 'raw', 'node-name': nodes.whole, file: nodes.pieces });
  return nodes.whole;
}

/** Takes everything of a snapshot from around the disk; the guest goes on all the while. `disk`: undefined when the VM has it no more. */
export async function removeNodes(qmp: QmpClient, key: DiskKey, disk: VmDisk | undefined): Promise<void> {
  const nodes = nodesOf(key);
  const present = await nodeNames(qmp);
  const remove = async (name: string): Promise<void> => {
    if (present.has(name)) await qmp.execute('blockdev-del', { arguments: { 'node-name': name } });
  };
  for (const name of [nodes.whole, nodes.pieces, nodes.access, nodes.guard]) await remove(name);
  if (disk?.rootNode === nodes.filter) {
    await qmp.execute('qom-set', { arguments: { path: disk.device, property: 'drive', value: disk.node } });
  }
  for (const name of [nodes.filter, nodes.plain, nodes.scratch]) await remove(name);
}

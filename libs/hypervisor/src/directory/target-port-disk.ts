/**
 * A disk of a VM to be at the port of a proxy: the port's daemon is a client of the target's server, and hands on all it is told. So
 * one process alone has the image open, and a flush at any port makes durable what was written at all of them.
 */
import { type DiskKey, exportNameOf, exportNames, exportNode, nodeNames, nodesOf } from './block-graph.ts';
import type { PortDisk } from './proxies.ts';

export function targetPortDisk(
  disk: DiskKey,
  access: 'read-only' | 'writable',
  server: { readonly socketPath: string; readonly exportName: string },
): PortDisk {
  const name = exportNameOf(disk);
  // Of one that is served with the other access, the node has another name: it is taken away first.
  const node = `${nodesOf(disk).remote}-${access === 'writable' ? 'w' : 'r'}`;
  return {
    ownerId: disk.ownerId,
    diskId: disk.diskId,
    isServed: async (qmp) => (await nodeNames(qmp)).includes(node) && (await exportNames(qmp)).includes(name),
    async serve(qmp) {
      await qmp.execute('blockdev-add', {
        arguments: {
          driver: 'nbd',
          'node-name': node,
          'read-only': access === 'read-only',
          'auto-read-only': false,
          discard: 'unmap',
          server: { type: 'unix', path: server.socketPath },
          export: server.exportName,
        },
      });
      await exportNode(qmp, node, { name, writable: access === 'writable', bitmaps: [] });
    },
  };
}

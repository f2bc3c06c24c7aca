/**
 * A disk of a VM that started before the disk was filled: what is not in its image is read, over NBD, from the mount of a restore point.
 * The image says so in its own header, so that whoever opens it without the mount fails and does not read zeroes.
 * While the mount is away requests wait, and the guest with them, instead of failing: whoever serves it may be started again meanwhile.
 */
import { parseUri } from '@backhaul/nbd';
import { z } from 'zod';
import { runTool } from '../tool.ts';

const TOOL_MILLISECONDS = 60_000;
/** How long requests wait for a mount that went away, and a VM that starts for one that is not there yet. */
const AWAY_SECONDS = 600;
const OPEN_SECONDS = 5;

/** The names of nodes in the VM's QEMU, by the place of the disk in its definition. */
export const diskNode = (index: number): string => `disk-${index}`;
export const mountNode = (index: number): string => `mount-${index}`;

/** An empty image of a disk that is as large as its mount. */
export async function makeMountedImage(path: string, sizeBytes: number, mount: string): Promise<void> {
  // Not looked at: its size is known, and who serves it may be away.
  const args = ['create', '-q', '-f', 'qcow2', '-u', '-b', mount, '-F', 'raw', path, String(sizeBytes)];
  await runTool('qemu-img', args, { milliseconds: TOOL_MILLISECONDS });
}

const Info = z.object({ 'backing-filename': z.string().optional() });

/** Whether anything of it may still be read from a mount. */
export async function isMounted(path: string): Promise<boolean> {
  const args = ['info', '-U', '--output=json', '-f', 'qcow2', path];
  const { stdout } = await runTool('qemu-img', args, { milliseconds: TOOL_MILLISECONDS });
  return Info.parse(JSON.parse(stdout))['backing-filename'] !== undefined;
}

/** For `-blockdev`. */
export function mountBlockdev(index: number, mount: string): object {
  const { exportName, endpoint } = parseUri(mount);
  const server =
    endpoint.kind === 'unix'
      ? { type: 'unix', path: endpoint.socketPath }
      : { type: 'inet', host: endpoint.host, port: String(endpoint.port) };
  return {
    driver: 'nbd',
    'node-name': mountNode(index),
    'read-only': true,
    server,
    export: exportName,
    'reconnect-delay': AWAY_SECONDS,
    'open-timeout': OPEN_SECONDS,
  };
}

/**
 * The NBD server that every QEMU has one of: started when the first export is wanted, and then left to listen for as long as the
 * VM runs, because stopping it can hang the guest for ever (quirks.ts). So its socket stands beside the VM's monitor, where
 * every deployment of Backhaul finds it again.
 * Each function wants the monitor for as long as it runs, so two processes never mix their steps.
 */
import { Fault } from '@backhaul/kernel';
import { z } from 'zod';
import type { QmpClient } from '../qmp.ts';
import { isListening } from './vm-folder.ts';

const Exports = z.array(z.object({ id: z.string(), 'shutting-down': z.boolean() }));
const DELETE_MILLISECONDS = 30_000;

export interface NbdExport {
  readonly id: string;
  /** How clients ask for it. */
  readonly name: string;
  readonly node: string;
  readonly bitmap: { readonly node: string; readonly name: string } | null;
}

const allExports = (qmp: QmpClient): Promise<z.infer<typeof Exports>> =>
  qmp.execute('query-block-exports', { reply: Exports });

export async function exportIds(qmp: QmpClient): Promise<string[]> {
  return (await allExports(qmp)).filter((one) => !one['shutting-down']).map((one) => one.id);
}

/** Those that are on their way out as well. */
export const allExportIds = async (qmp: QmpClient): Promise<string[]> =>
  (await allExports(qmp)).map(({ id }) => id);

/** Serves all of these at the socket. Throws a Fault, code `NbdServerTaken`, when somebody else has the VM's server. */
export async function addExports(
  qmp: QmpClient,
  socketPath: string,
  wanted: readonly NbdExport[],
): Promise<void> {
  await ensureServer(qmp, socketPath);
  for (const { id, name, node, bitmap } of wanted) {
    await qmp.execute('block-export-add', {
      arguments: {
        type: 'nbd',
        id,
        'node-name': node,
        name,
        writable: false,
        ...(bitmap === null ? {} : { bitmaps: [bitmap] }),
      },
    });
  }
}

async function ensureServer(qmp: QmpClient, socketPath: string): Promise<void> {
  const addr = { type: 'unix', data: { path: socketPath } };
  try {
    // No limit: by itself QEMU takes a hundred, proxies and direct streams of all disks together.
    await qmp.execute('nbd-server-start', { arguments: { addr, 'max-connections': 0 } });
  } catch (cause) {
    const runs = cause instanceof Fault && cause.message.includes('already running');
    if (runs && (await isListening(socketPath))) return;
    if (!runs) throw cause;
    throw new Fault(`The NBD server of ${qmp.target} is in use by somebody else`, {
      cause,
      code: 'NbdServerTaken',
    });
  }
}

/** Takes exports away from whoever still reads them, and sees them gone. What is not there is gone already. */
export async function removeExports(qmp: QmpClient, isDue: (id: string) => boolean): Promise<void> {
  for (const { id, 'shutting-down': leaving } of await allExports(qmp)) {
    if (!isDue(id)) continue;
    const gone = qmp.waitForEvent('BLOCK_EXPORT_DELETED', (data) => data.id === id, DELETE_MILLISECONDS);
    gone.catch(() => undefined);
    if (!leaving) await qmp.execute('block-export-del', { arguments: { id, mode: 'hard' } });
    if (!(await allExports(qmp)).some((one) => one.id === id)) continue;
    await gone;
  }
}

/**
 * A folder of images as a host: VMs at rest, proxies that are local processes. For a first look, for tests, and to move
 * data without a hypervisor. Everything it makes lies in one folder, `<state directory>/<host id>`:
 * `proxies/<proxy id>/`, `snapshots/<snapshot id>/`, and `looks/` while an inspection runs.
 */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describeError, Fault, type Result, refuse } from '@backhaul/kernel';
import type { HypervisorHost, Observation, SnapshotOrder } from '../host.ts';
import { requireTools, storageTools } from '../required-tools.ts';
import { Turns } from '../turns.ts';
import { exportNameOf, type GraphDisk } from './block-graph.ts';
import { listVms } from './folder.ts';
import { despiteLocks, ImageHeld, imageInUse } from './image-lock.ts';
import { inspectVm } from './inspection.ts';
import { Proxies } from './proxies.ts';
import { releaseSnapshot } from './release-snapshot.ts';
import { keepServed, touchedImage, whyNotServed } from './snapshot-server.ts';
import { graphDisk, type SnapshotState, SnapshotStates } from './snapshot-state.ts';
import { nbdEndpointOf, requireSocketPath } from './storage-daemon.ts';
import { takeSnapshot } from './take-snapshot.ts';

export interface DirectoryHostOptions {
  readonly hostId: string;
  /** The folder of images. */
  readonly address: string;
  readonly stateDirectory: string;
  /** How long somebody else's lock on an image is waited for before it is believed. Default 3,000. */
  readonly lockPatienceMilliseconds?: number;
}

/** Throws permanent Faults: `ToolMissing`, `FolderMissing`, `SocketPathTooLong`. */
export async function openDirectoryHost(options: DirectoryHostOptions): Promise<HypervisorHost> {
  const { hostId, lockPatienceMilliseconds = 3000 } = options;
  const folder = resolve(options.address);
  const own = resolve(options.stateDirectory, hostId);
  await requireTools(storageTools);
  if (!((await stat(folder).catch(() => undefined))?.isDirectory() ?? false)) {
    throw new Fault(`Host ${hostId} has no folder of images at ${folder}`, {
      permanent: true,
      code: 'FolderMissing',
    });
  }
  const states = new SnapshotStates(join(own, 'snapshots'));
  const proxies = new Proxies(join(own, 'proxies'));
  const turns = new Turns();
  // The longest path there will be: a snapshot is named by a uuid. Better now than in the middle of a backup.
  requireSocketPath(join(own, 'snapshots', '00000000-0000-0000-0000-000000000000', 'host.sock'));

  const site = { hostId, folder, states, lockPatienceMilliseconds, looksFolder: join(own, 'looks') };

  /** The snapshot as it stands, served; or a Fault that says why it does not. */
  const standingSnapshot = async (snapshotId: string): Promise<SnapshotState> => {
    const state = await states.read(snapshotId);
    if (state?.standing == null || state.releasing !== null) {
      throw new Fault(`Host ${hostId} has no snapshot ${snapshotId}`, { code: 'SnapshotUnknown' });
    }
    await keepServed(states, state, state.standing, lockPatienceMilliseconds);
    return state;
  };
  const vmTurn = (vmId: string): string => `vm ${vmId}`;
  const proxyTurn = (proxyId: string): string => `proxy ${proxyId}`;

  return {
    hostId,
    kind: 'directory',
    address: folder,

    listVms: () => listVms(folder),

    inspect: (vmId, parent) =>
      turns.take(vmTurn(vmId), () =>
        refusedWhenHeld(() => despiteLocks(lockPatienceMilliseconds, () => inspectVm(site, vmId, parent))),
      ),

    takeSnapshot: (order: SnapshotOrder) => turns.take(vmTurn(order.vmId), () => takeSnapshot(site, order)),

    releaseSnapshot: (snapshotId, vmId, checkpoints) =>
      turns.take(vmTurn(vmId), () =>
        releaseSnapshot(states, snapshotId, checkpoints, lockPatienceMilliseconds, async (disks) => {
          for (const proxyId of await proxies.ids()) {
            for (const disk of disks) {
              await turns.take(proxyTurn(proxyId), () => proxies.detach(proxyId, disk));
            }
          }
        }),
      ),

    activateProxy: ({ proxyId, ports, deadlineSeconds }) =>
      turns.take(proxyTurn(proxyId), () => proxies.activate(proxyId, ports, deadlineSeconds * 1000)),

    async attachDisk({ proxyId, snapshotId, diskId }) {
      const vmId = (await states.read(snapshotId))?.vmId ?? '';
      // Always the VM's turn before the proxy's, so that no release comes in between and nobody waits in a circle.
      return await turns.take(vmTurn(vmId), async () => {
        const disk = frozenDisk(await standingSnapshot(snapshotId), diskId);
        return { exportName: await turns.take(proxyTurn(proxyId), () => proxies.attach(proxyId, disk)) };
      });
    },

    detachDisk: ({ proxyId, ...disk }) => turns.take(proxyTurn(proxyId), () => proxies.detach(proxyId, disk)),

    deactivateProxy: (proxyId) => turns.take(proxyTurn(proxyId), () => proxies.deactivate(proxyId)),

    async openDirectEndpoint(snapshotId, streams) {
      const vmId = (await states.read(snapshotId))?.vmId ?? '';
      const state = await turns.take(vmTurn(vmId), () => standingSnapshot(snapshotId));
      const endpoint = nbdEndpointOf(states.serverOf(snapshotId));
      return {
        ports: Array.from({ length: streams }, (_, port) => ({ port, endpoint })),
        exportNameOf: Object.fromEntries(
          state.images.map((image) => [image.diskId, exportNameOf(graphDisk(state, image))]),
        ),
      };
    },

    async observe(): Promise<Observation> {
      const [observed, known] = await Promise.all([proxies.observe(), states.all()]);
      const snapshots = await Promise.all(known.map((state) => observeSnapshot(states, state)));
      return { proxies: observed, snapshots };
    },

    // Sockets are opened for one call at a time, and nothing else is held.
    close: async () => {},
  };
}

async function refusedWhenHeld<T>(work: () => Promise<Result<T>>): Promise<Result<T>> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ImageHeld) return refuse(imageInUse(error));
    throw error;
  }
}

function frozenDisk(state: SnapshotState, diskId: string): GraphDisk {
  const image = state.images.find((one) => one.diskId === diskId);
  if (image !== undefined) return graphDisk(state, image);
  throw new Fault(`Snapshot ${state.snapshotId} of VM ${state.vmId} has no disk ${diskId}`, {
    permanent: true,
    code: 'DiskUnknown',
  });
}

async function observeSnapshot(
  states: SnapshotStates,
  state: SnapshotState,
): Promise<Observation['snapshots'][number]> {
  const { snapshotId, vmId, standing } = state;
  const detail = await whyNotAlive(states, state, standing).catch(describeError);
  return { snapshotId, vmId, alive: detail === undefined, detail: detail ?? '' };
}

async function whyNotAlive(
  states: SnapshotStates,
  state: SnapshotState,
  standing: SnapshotState['standing'],
): Promise<string | undefined> {
  if (state.releasing !== null) return `being given back (${state.releasing})`;
  if (standing === null) return 'its taking did not get to its end';
  return (await touchedImage(state, standing)) ?? (await whyNotServed(states, state));
}

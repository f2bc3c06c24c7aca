/**
 * A folder of images as a host: VMs at rest, proxies that are local processes. For a first look, for tests, and to move
 * data without a hypervisor. Everything it makes lies in one folder, `<state directory>/<host id>`:
 * `proxies/<proxy id>/`, `snapshots/<snapshot id>/`, `targets/<target id>/`, and `looks/` while an inspection runs. Only the disks of
 * VMs to be lie elsewhere: hidden in the folder of images (staged-target.ts).
 */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Fault, ok, type Result, refuse } from '@backhaul/kernel';
import type { HypervisorHost, Observation, SnapshotOrder } from '../host.ts';
import { withoutInstantRecovery } from '../no-instant.ts';
import { requireTools, storageTools } from '../required-tools.ts';
import { sight } from '../sighting.ts';
import { targetExportOf } from '../target-server.ts';
import { Turns } from '../turns.ts';
import { type DiskKey, exportNameOf, type GraphDisk } from './block-graph.ts';
import {
  createTarget,
  inspectTarget,
  standingTarget,
  type TargetSite,
  whyTargetNotAlive,
} from './create-target.ts';
import { listVms } from './folder.ts';
import { frozenPortDisk } from './frozen-port-disk.ts';
import { despiteLocks, ImageHeld, imageInUse } from './image-lock.ts';
import { inspectVm } from './inspection.ts';
import { discardTarget, keepTarget } from './keep-target.ts';
import { type PortDisk, Proxies } from './proxies.ts';
import { releaseSnapshot } from './release-snapshot.ts';
import { keepServed, touchedImage, whyNotServed } from './snapshot-server.ts';
import { graphDisk, type SnapshotState, SnapshotStates } from './snapshot-state.ts';
import { type StagedTarget, StagedTargets } from './staged-target.ts';
import { nbdEndpointOf, nbdSocketOf, requireSocketPath } from './storage-daemon.ts';
import { takeSnapshot } from './take-snapshot.ts';
import { targetPortDisk } from './target-port-disk.ts';

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
  const targets = new StagedTargets(join(own, 'targets'), folder);
  const proxies = new Proxies(join(own, 'proxies'));
  const turns = new Turns();
  // The longest path there will be: a snapshot is named by a uuid. Better now than in the middle of a backup.
  requireSocketPath(join(own, 'snapshots', '00000000-0000-0000-0000-000000000000', 'host.sock'));

  const vmTurn = (vmId: string): string => `vm ${vmId}`;
  const proxyTurn = (proxyId: string): string => `proxy ${proxyId}`;
  const detachFromAll = async (disks: readonly DiskKey[]): Promise<void> => {
    for (const proxyId of await proxies.ids()) {
      for (const disk of disks) await turns.take(proxyTurn(proxyId), () => proxies.detach(proxyId, disk));
    }
  };
  const site = {
    ...{ hostId, folder, states, targets, lockPatienceMilliseconds },
    looksFolder: join(own, 'looks'),
    letGo: ({ targetId, disks }: StagedTarget) =>
      detachFromAll(disks.map(({ diskId }) => ({ ownerId: targetId, diskId }))),
  };
  /** Of a snapshot or of a target; '' when there is neither. */
  const vmOfOwner = async (ownerId: string): Promise<string> =>
    ((await targets.read(ownerId)) ?? (await states.read(ownerId)))?.vmId ?? '';

  /** The snapshot as it stands, served; or a Fault that says why it does not. */
  const standingSnapshot = async (snapshotId: string): Promise<SnapshotState> => {
    const state = await states.read(snapshotId);
    if (state?.standing == null || state.releasing !== null) {
      throw new Fault(`Host ${hostId} has no snapshot ${snapshotId}`, { code: 'SnapshotUnknown' });
    }
    await keepServed(states, state, state.standing, lockPatienceMilliseconds);
    return state;
  };

  /** How a port comes to serve the disk; or a Fault when there is no such disk. */
  const portDisk = async (key: DiskKey, access: 'read-only' | 'writable'): Promise<PortDisk> => {
    if (access === 'read-only' && (await targets.read(key.ownerId)) === undefined) {
      return frozenPortDisk(frozenDisk(await standingSnapshot(key.ownerId), key.diskId));
    }
    const target = await standingTarget(site, key.ownerId);
    return targetPortDisk(key, access, {
      socketPath: nbdSocketOf(targets.serverOf(target.targetId)),
      exportName: targetExportOf(requireDisk(target, key.diskId)),
    });
  };

  const { instant: _, ...noInstant } = withoutInstantRecovery('directory');
  return {
    ...noInstant,
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
        releaseSnapshot(states, snapshotId, checkpoints, lockPatienceMilliseconds, detachFromAll),
      ),

    activateProxy: ({ proxyId, ports, deadlineSeconds }) =>
      turns.take(proxyTurn(proxyId), () => proxies.activate(proxyId, ports, deadlineSeconds * 1000)),

    async attachDisk({ proxyId, ownerId, diskId, access }) {
      // Always the VM's turn before the proxy's, so that no release comes in between and nobody waits in a circle.
      return await turns.take(vmTurn(await vmOfOwner(ownerId)), async () => {
        const disk = await portDisk({ ownerId, diskId }, access);
        return { exportName: await turns.take(proxyTurn(proxyId), () => proxies.attach(proxyId, disk)) };
      });
    },

    detachDisk: ({ proxyId, ...disk }) => turns.take(proxyTurn(proxyId), () => proxies.detach(proxyId, disk)),

    deactivateProxy: (proxyId) => turns.take(proxyTurn(proxyId), () => proxies.deactivate(proxyId)),

    async openDirectEndpoint(ownerId, streams) {
      return await turns.take(vmTurn(await vmOfOwner(ownerId)), async () => {
        const isTarget = (await targets.read(ownerId)) !== undefined;
        const exports = isTarget
          ? (await standingTarget(site, ownerId)).disks.map(
              ({ diskId }) => [diskId, targetExportOf({ targetId: ownerId, diskId })] as const,
            )
          : (await standingSnapshot(ownerId)).images.map(
              ({ diskId }) => [diskId, exportNameOf({ ownerId, diskId })] as const,
            );
        const endpoint = nbdEndpointOf((isTarget ? targets : states).serverOf(ownerId));
        return {
          ports: Array.from({ length: streams }, (_, port) => ({ port, endpoint })),
          exportNameOf: Object.fromEntries(exports),
        };
      });
    },

    inspectTarget: (order) => turns.take(vmTurn(order.vmId), () => inspectTarget(site, order)),

    createTarget: (order) => turns.take(vmTurn(order.vmId), () => createTarget(site, order)),

    async keepTarget({ targetId, vmId, start }) {
      const kept = await turns.take(vmTurn(vmId), () => keepTarget(site, targetId, vmId));
      if (!kept.ok) return kept;
      return ok({
        started: false,
        notStarted: start ? 'the VMs of a directory host are images at rest' : null,
      });
    },

    discardTarget: (targetId, vmId) => turns.take(vmTurn(vmId), () => discardTarget(site, targetId)),

    async observe(): Promise<Observation> {
      const [observed, known, staged] = await Promise.all([proxies.observe(), states.all(), targets.all()]);
      return {
        fills: [],
        proxies: observed,
        snapshots: await Promise.all(known.map((state) => observeSnapshot(states, state))),
        targets: await Promise.all(staged.map((target) => observeTarget(site, target))),
      };
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
  return { snapshotId, vmId, ...(await sight(() => whyNotAlive(states, state, standing))) };
}

function requireDisk(target: StagedTarget, diskId: string): { targetId: string; diskId: string } {
  const { targetId, vmId } = target;
  if (target.disks.some((disk) => disk.diskId === diskId)) return { targetId, diskId };
  throw new Fault(`Target ${targetId} of VM ${vmId} has no disk ${diskId}`, {
    permanent: true,
    code: 'DiskUnknown',
  });
}

async function observeTarget(
  site: TargetSite,
  target: StagedTarget,
): Promise<Observation['targets'][number]> {
  const { targetId, vmId } = target;
  return { targetId, vmId, ...(await sight(() => whyTargetNotAlive(site, target))) };
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

/**
 * A host whose VMs are running QEMU processes, reached over QMP, and whose proxies are QEMU virtual machines (proxy/). A VM is
 * frozen while it runs, and served from its own process; nothing that is done here may harm the guest (docs/adr/0008).
 * Everything it makes lies in `<state directory>/<host id>`: `snapshots/<snapshot id>/` (notes), `proxies/<proxy id>/`,
 * `targets/<target id>/` (notes, and the server); scratch files lie in `scratch/` or where the options say. Only VMs that came back, and
 * disks of those that are to be, lie in the host's own folder (defined-vms.ts).
 */
import { join, resolve } from 'node:path';
import type { ProxyNetwork } from '@backhaul/contracts';
import { describeError, Fault, ok } from '@backhaul/kernel';
import { requireSocketPath } from '../directory/storage-daemon.ts';
import type { HypervisorHost, Observation, SnapshotOrder } from '../host.ts';
import { requireTools, virtualMachineTools } from '../required-tools.ts';
import { targetExportOf } from '../target-server.ts';
import { TargetStates } from '../target-state.ts';
import { Turns } from '../turns.ts';
import { DefinedVms } from './defined-vms.ts';
import { fillTarget, leaveTarget, observeFills } from './fill.ts';
import { exportNameOf } from './node-names.ts';
import { observeSnapshots } from './observe-snapshots.ts';
import { claimFolder } from './owner-mark.ts';
import { type DiskSource, openQemuProxies, type QemuProxies } from './proxy/proxies.ts';
import { releaseVmSnapshot } from './release-vm-snapshot.ts';
import { rescueAbandoned } from './rescue.ts';
import { boundConsoles } from './start-vm.ts';
import { requireStanding, takeVmSnapshot } from './take-vm-snapshot.ts';
import {
  createTarget,
  discardTarget,
  endpointOfTarget,
  inspectTarget,
  keepTarget,
  observeTargets,
  socketOfTarget,
  standingTarget,
  type TargetSite,
} from './targets.ts';
import { requireFolder, VmFolder } from './vm-folder.ts';
import { inspectVm } from './vm-inspection.ts';
import { nbdEndpointAt, type VmSite } from './vm-site.ts';
import { type VmSnapshotState, VmSnapshotStates } from './vm-snapshot-state.ts';

export interface QemuHostOptions {
  readonly hostId: string;
  /** The folder of QMP sockets (vm-folder.ts). */
  readonly address: string;
  readonly stateDirectory: string;
  /** Where the appliance that proxy VMs boot was built to. Without it there is no proxy-vm mode. */
  readonly applianceDirectory?: string | undefined;
  /** Where the ports of proxy VMs are reached over TCP; without it they are reached on this machine alone. */
  readonly proxyNetwork?: ProxyNetwork | undefined;
  /** Where what guests overwrite meanwhile is kept. Default: in the state directory. */
  readonly scratchDirectory?: string | undefined;
  /** How long a guest agent may take to answer at all. Default 3,000. */
  readonly agentMilliseconds?: number;
  /** How long it may take to freeze its file systems. Default 10,000. */
  readonly freezeMilliseconds?: number;
  /** How long a frozen disk may take to answer before nothing is said of it. Default 10,000. */
  readonly answerMilliseconds?: number;
}

/** Throws permanent Faults: `ToolMissing`, `FolderMissing`, `SocketPathTooLong`, `HostOwned`. */
export async function openQemuHost(options: QemuHostOptions): Promise<HypervisorHost> {
  const { hostId } = options;
  const folder = resolve(options.address);
  const own = resolve(options.stateDirectory, hostId);
  await requireTools(virtualMachineTools);
  await requireFolder(hostId, folder);
  await claimFolder({ folder, hostId, stateDirectory: resolve(options.stateDirectory) });
  const vms = new VmFolder(folder, hostId);
  const states = new VmSnapshotStates(join(own, 'snapshots'));
  const site: VmSite = {
    hostId,
    vms,
    states,
    scratchFolder: resolve(options.scratchDirectory ?? join(own, 'scratch')),
    agentMilliseconds: options.agentMilliseconds ?? 3_000,
    freezeMilliseconds: options.freezeMilliseconds ?? 10_000,
    answerMilliseconds: options.answerMilliseconds ?? 10_000,
  };
  const { applianceDirectory, proxyNetwork: network } = options;
  const proxies = openQemuProxies({
    ...{ hostId, stateDirectory: options.stateDirectory, applianceDirectory, network },
  });
  const proxyMode = (): Promise<{ available: boolean; reason?: string }> =>
    proxies.requireBootable().then(
      () => ({ available: true }),
      (error) => ({ available: false, reason: describeError(error) }),
    );
  const turns = new Turns();
  const vmTurn = (vmId: string): string => `vm ${vmId}`;
  const whenFree = (vmId: string, work: () => Promise<void>) => turns.takeWithin(vmTurn(vmId), 0, work);
  const proxyTurn = (proxyId: string): string => `proxy ${proxyId}`;
  const requirePath = (vmId: string): void => requireSocketPath(site.vms.nbdSocketOf(vmId));
  const letGo = async (ownerId: string, diskIds: readonly string[]): Promise<void> => {
    for (const proxyId of await proxies.ids()) {
      for (const diskId of diskIds) {
        await turns.take(proxyTurn(proxyId), () => proxies.detach({ proxyId, ownerId, diskId }));
      }
    }
  };
  const targets: TargetSite = {
    hostId,
    vms,
    defined: new DefinedVms(folder),
    states: new TargetStates(join(own, 'targets')),
    accelerator: () => proxies.accelerator(),
    letGo,
  };

  // Whoever opens a host after a crash first of all lets go of guests that the crash has left held.
  for (const state of await states.all()) await rescueAbandoned(vms, state).catch(() => undefined);

  /** The snapshot as it stands; or a Fault that says why it does not. */
  const standingSnapshot = async (snapshotId: string): Promise<VmSnapshotState> => {
    const state = await states.read(snapshotId);
    if (state?.standing == null || state.releasing !== null) {
      throw new Fault(`Host ${hostId} has no snapshot ${snapshotId}`, { code: 'SnapshotUnknown' });
    }
    await requireStanding(site, state);
    return state;
  };

  /** The disk as a proxy gets it; or a Fault that says why it cannot have it. */
  const sourceOf = async (ownerId: string, diskId: string, vmId: string, access: DiskSource['access']) => {
    if (access === 'read-only') {
      const { sizeBytes } = diskIn('Snapshot', await standingSnapshot(ownerId), diskId);
      const exportName = exportNameOf({ snapshotId: ownerId, diskId });
      return { socketPath: site.vms.nbdSocketOf(vmId), exportName, sizeBytes, access };
    }
    const { sizeBytes } = diskIn('Target', await standingTarget(targets, ownerId), diskId);
    const exportName = targetExportOf({ targetId: ownerId, diskId });
    return { socketPath: socketOfTarget(targets, ownerId), exportName, sizeBytes, access };
  };
  const vmOfOwner = async (ownerId: string): Promise<string> =>
    (await states.read(ownerId))?.vmId ?? (await targets.states.read(ownerId))?.vmId ?? '';

  return {
    hostId,
    kind: 'qemu',
    address: folder,

    listVms: () => vms.list(),

    async inspect(vmId, parent, looking) {
      requirePath(vmId);
      const inspected = await turns.take(vmTurn(vmId), () => inspectVm(site, vmId, parent, looking));
      if (!inspected.ok) return inspected;
      return ok({
        ...inspected.value,
        modes: { ...inspected.value.modes, 'proxy-vm': await proxyMode() },
      });
    },

    takeSnapshot: (order: SnapshotOrder) => {
      requirePath(order.vmId);
      return turns.take(vmTurn(order.vmId), () => takeVmSnapshot(site, order));
    },

    releaseSnapshot: (snapshotId, vmId, checkpoints) =>
      turns.take(vmTurn(vmId), async () => {
        const disks = (await states.read(snapshotId))?.disks ?? [];
        await letGo(
          snapshotId,
          disks.map(({ diskId }) => diskId),
        );
        await releaseVmSnapshot(site, snapshotId, vmId, checkpoints);
      }),

    activateProxy: (order) => turns.take(proxyTurn(order.proxyId), () => proxies.activate(order)),

    async attachDisk({ proxyId, ownerId, diskId, access }) {
      const vmId = await vmOfOwner(ownerId);
      // Always the VM's turn before the proxy's, so that no release comes in between and nobody waits in a circle.
      return await turns.take(vmTurn(vmId), async () => {
        const source = await sourceOf(ownerId, diskId, vmId, access);
        return await turns.take(proxyTurn(proxyId), () =>
          proxies.attach({ proxyId, ownerId, diskId, source }),
        );
      });
    },

    async detachDisk(disk) {
      if (!(await proxies.ids()).includes(disk.proxyId)) return;
      await turns.take(proxyTurn(disk.proxyId), () => proxies.detach(disk));
    },

    async deactivateProxy(proxyId) {
      if (!(await proxies.ids()).includes(proxyId)) return;
      await turns.take(proxyTurn(proxyId), () => proxies.deactivate(proxyId));
    },

    async openDirectEndpoint(ownerId, streams) {
      const vmId = await vmOfOwner(ownerId);
      return await turns.take(vmTurn(vmId), async () => {
        // One server for all streams: the VM's own, or the target's, which is where all of them end whatever stands in between.
        const ports = (endpoint: string) =>
          Array.from({ length: streams }, (_, port) => ({ port, endpoint }));
        if ((await targets.states.read(ownerId)) !== undefined) {
          const { disks } = await standingTarget(targets, ownerId);
          const names = disks.map(({ diskId }) => [diskId, targetExportOf({ targetId: ownerId, diskId })]);
          return {
            ports: ports(endpointOfTarget(targets, ownerId)),
            exportNameOf: Object.fromEntries(names),
          };
        }
        const { disks } = await standingSnapshot(ownerId);
        const names = disks.map(({ diskId }) => [diskId, exportNameOf({ snapshotId: ownerId, diskId })]);
        return {
          ports: ports(nbdEndpointAt(site.vms.nbdSocketOf(vmId))),
          exportNameOf: Object.fromEntries(names),
        };
      });
    },

    inspectTarget: (order) =>
      turns.take(vmTurn(order.vmId), async () => {
        const inspected = await inspectTarget(targets, order);
        if (!inspected.ok) return inspected;
        const modes = { 'proxy-vm': await proxyMode(), 'direct-to-host': { available: true } };
        return ok({ modes, instant: { available: true }, freeBytes: inspected.value.freeBytes });
      }),

    createTarget: (order) => turns.take(vmTurn(order.vmId), () => createTarget(targets, order)),

    keepTarget: (order) => turns.take(vmTurn(order.vmId), () => keepTarget(targets, order)),

    fillTarget: (order) => turns.take(vmTurn(order.vmId), () => fillTarget(targets, order)),

    leaveTarget: (targetId, vmId) => turns.take(vmTurn(vmId), () => leaveTarget(targets, targetId, vmId)),

    discardTarget: (targetId, vmId) => turns.take(vmTurn(vmId), () => discardTarget(targets, targetId, vmId)),

    async observe(): Promise<Observation> {
      const [{ observed, appliance }, snapshots, targetsSeen, fills] = await Promise.all([
        observeProxies(proxies),
        observeSnapshots(site, whenFree),
        observeTargets(targets),
        observeFills(targets),
        boundConsoles(targets),
      ]);
      return {
        ...(appliance === undefined ? {} : { appliance }),
        ...{ proxies: observed.map(({ proxy }) => proxy), snapshots, targets: targetsSeen, fills },
      };
    },

    close: () => proxies.close(),
  };
}

/** Which appliance the host has is of interest only where something was booted from one. */
async function observeProxies(proxies: QemuProxies) {
  const observed = await proxies.observe();
  if (observed.length === 0) return { observed, appliance: undefined };
  return { observed, appliance: await proxies.appliance().catch(() => undefined) };
}

function diskIn<Disk extends { diskId: string }>(
  what: string,
  { vmId, disks }: { vmId: string; disks: readonly Disk[] },
  diskId: string,
): Disk {
  const disk = disks.find((one) => one.diskId === diskId);
  if (disk !== undefined) return disk;
  throw new Fault(`${what} of VM ${vmId} has no disk ${diskId}`, { permanent: true, code: 'DiskUnknown' });
}

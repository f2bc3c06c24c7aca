/**
 * A host whose VMs are running QEMU processes, reached over QMP, and whose proxies are QEMU virtual machines (proxy/). A VM is
 * frozen while it runs, and served from its own process; nothing that is done here may harm the guest (docs/adr/0008).
 * Everything it makes lies in `<state directory>/<host id>`: `snapshots/<snapshot id>/` (notes), `proxies/<proxy id>/`;
 * scratch files lie in `scratch/` or where the options say.
 */
import { join, resolve } from 'node:path';
import { describeError, Fault } from '@backhaul/kernel';
import { requireSocketPath } from '../directory/storage-daemon.ts';
import type { HypervisorHost, Observation, SnapshotOrder } from '../host.ts';
import { requireTools, virtualMachineTools } from '../required-tools.ts';
import { Turns } from '../turns.ts';
import { exportNameOf } from './node-names.ts';
import { observeSnapshots } from './observe-snapshots.ts';
import { openQemuProxies, type QemuProxies } from './proxy/proxies.ts';
import { ProxyStates } from './proxy/proxy-state.ts';
import { releaseVmSnapshot } from './release-vm-snapshot.ts';
import { rescueAbandoned } from './rescue.ts';
import { requireStanding, takeVmSnapshot } from './take-vm-snapshot.ts';
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
  /** Where what guests overwrite meanwhile is kept. Default: in the state directory. */
  readonly scratchDirectory?: string | undefined;
  /** How long a guest agent may take to answer at all. Default 3,000. */
  readonly agentMilliseconds?: number;
  /** How long it may take to freeze its file systems. Default 10,000. */
  readonly freezeMilliseconds?: number;
}

/** Throws permanent Faults: `ToolMissing`, `FolderMissing`, `SocketPathTooLong`. */
export async function openQemuHost(options: QemuHostOptions): Promise<HypervisorHost> {
  const { hostId } = options;
  const folder = resolve(options.address);
  const own = resolve(options.stateDirectory, hostId);
  await requireTools(virtualMachineTools);
  await requireFolder(hostId, folder);
  const vms = new VmFolder(folder, hostId);
  const states = new VmSnapshotStates(join(own, 'snapshots'));
  const site: VmSite = {
    hostId,
    vms,
    states,
    scratchFolder: resolve(options.scratchDirectory ?? join(own, 'scratch')),
    agentMilliseconds: options.agentMilliseconds ?? 3_000,
    freezeMilliseconds: options.freezeMilliseconds ?? 10_000,
  };
  const proxies = proxiesOnDemand(options, join(own, 'proxies'));
  const turns = new Turns();
  const vmTurn = (vmId: string): string => `vm ${vmId}`;
  const proxyTurn = (proxyId: string): string => `proxy ${proxyId}`;
  const requirePath = (vmId: string): void => requireSocketPath(site.vms.nbdSocketOf(vmId));

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

  return {
    hostId,
    kind: 'qemu',
    address: folder,

    listVms: () => vms.list(),

    async inspect(vmId, parent) {
      requirePath(vmId);
      const inspected = await turns.take(vmTurn(vmId), () => inspectVm(site, vmId, parent));
      if (!inspected.ok) return inspected;
      const missing = await proxies.whyNot();
      const proxyVm = missing === undefined ? { available: true } : { available: false, reason: missing };
      const modes = { ...inspected.value.modes, 'proxy-vm': proxyVm };
      return { ok: true, value: { ...inspected.value, modes } };
    },

    takeSnapshot: (order: SnapshotOrder) => {
      requirePath(order.vmId);
      return turns.take(vmTurn(order.vmId), () => takeVmSnapshot(site, order));
    },

    releaseSnapshot: (snapshotId, vmId, checkpoints) =>
      turns.take(vmTurn(vmId), async () => {
        const disks = (await states.read(snapshotId))?.disks ?? [];
        for (const proxyId of await proxies.ids()) {
          for (const { diskId } of disks) {
            await turns.take(proxyTurn(proxyId), async () =>
              (await proxies.open()).detach({ proxyId, snapshotId, diskId }),
            );
          }
        }
        await releaseVmSnapshot(site, snapshotId, vmId, checkpoints);
      }),

    activateProxy: (order) =>
      turns.take(proxyTurn(order.proxyId), async () => (await proxies.open()).activate(order)),

    async attachDisk({ proxyId, snapshotId, diskId }) {
      const vmId = (await states.read(snapshotId))?.vmId ?? '';
      // Always the VM's turn before the proxy's, so that no release comes in between and nobody waits in a circle.
      return await turns.take(vmTurn(vmId), async () => {
        const state = await standingSnapshot(snapshotId);
        const { sizeBytes } = frozenDisk(state, diskId);
        const source = {
          socketPath: site.vms.nbdSocketOf(vmId),
          exportName: exportNameOf({ snapshotId, diskId }),
          sizeBytes,
        };
        return await turns.take(proxyTurn(proxyId), async () =>
          (await proxies.open()).attach({ proxyId, snapshotId, diskId, source }),
        );
      });
    },

    async detachDisk(disk) {
      if (!(await proxies.ids()).includes(disk.proxyId)) return;
      await turns.take(proxyTurn(disk.proxyId), async () => (await proxies.open()).detach(disk));
    },

    async deactivateProxy(proxyId) {
      if (!(await proxies.ids()).includes(proxyId)) return;
      await turns.take(proxyTurn(proxyId), async () => (await proxies.open()).deactivate(proxyId));
    },

    async openDirectEndpoint(snapshotId, streams) {
      const vmId = (await states.read(snapshotId))?.vmId ?? '';
      const state = await turns.take(vmTurn(vmId), () => standingSnapshot(snapshotId));
      // One server for all streams: the VM's own, which is where all of them end whatever stands in between.
      const endpoint = nbdEndpointAt(site.vms.nbdSocketOf(vmId));
      return {
        ports: Array.from({ length: streams }, (_, port) => ({ port, endpoint })),
        exportNameOf: Object.fromEntries(
          state.disks.map(({ diskId }) => [diskId, exportNameOf({ snapshotId, diskId })]),
        ),
      };
    },

    async observe(): Promise<Observation> {
      const [observed, snapshots] = await Promise.all([
        (await proxies.ids()).length === 0 ? [] : (await proxies.open()).observe(),
        observeSnapshots(site),
      ]);
      return { proxies: observed.map(({ proxy }) => proxy), snapshots };
    },

    close: () => proxies.close(),
  };
}

/** Opened when first wanted: a host without an appliance can still be looked at, and backed up without proxies. */
function proxiesOnDemand({ hostId, stateDirectory, applianceDirectory }: QemuHostOptions, folder: string) {
  let opening: Promise<QemuProxies> | undefined;
  const states = new ProxyStates(folder);
  const open = async (): Promise<QemuProxies> => {
    if (applianceDirectory === undefined) {
      throw new Fault(`Host ${hostId} has no proxy appliance: BACKHAUL_APPLIANCE_DIRECTORY is not set`, {
        permanent: true,
        code: 'ApplianceMissing',
      });
    }
    opening ??= openQemuProxies({ hostId, stateDirectory, applianceDirectory });
    try {
      return await opening;
    } catch (error) {
      // What was in the way may be gone the next time.
      opening = undefined;
      throw error;
    }
  };
  return {
    open,
    whyNot: (): Promise<string | undefined> => open().then(() => undefined, describeError),
    ids: (): Promise<string[]> => states.ids(),
    close: async (): Promise<void> => {
      const opened = await opening?.catch(() => undefined);
      await opened?.close();
    },
  };
}

function frozenDisk(state: VmSnapshotState, diskId: string): VmSnapshotState['disks'][number] {
  const disk = state.disks.find((one) => one.diskId === diskId);
  if (disk !== undefined) return disk;
  throw new Fault(`Snapshot ${state.snapshotId} of VM ${state.vmId} has no disk ${diskId}`, {
    permanent: true,
    code: 'DiskUnknown',
  });
}

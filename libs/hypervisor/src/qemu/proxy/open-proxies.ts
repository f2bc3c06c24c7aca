/** Proxy VMs, composed: the state file says what was meant, QMP and the control channel what is there (`proxies.ts`). */
import { join, resolve } from 'node:path';
import type { ProxyNetwork } from '@backhaul/contracts';
import { describeError, Fault, MiB } from '@backhaul/kernel';
import { requireSocketPath } from '../../directory/storage-daemon.ts';
import { removeFolder } from '../../state-file.ts';
import { Turns } from '../../turns.ts';
import { type Accelerator, type ChosenAccelerator, chooseAccelerator } from './accelerator.ts';
import { type ApplianceFiles, readAppliance, requireNetworkPorts } from './appliance-files.ts';
import { askAppliance, type ControlOptions } from './control-channel.ts';
import { addDisk, HOT_ADDS_MAX, removeDisk } from './hot-add.ts';
import { observeProxy } from './observe-proxy.ts';
import type {
  DiskOfProxy,
  DiskSource,
  ObservedQemuProxy,
  QemuProxies,
  QemuProxiesOptions,
} from './proxies.ts';
import { chooseAddress, requireBridge } from './proxy-network.ts';
import { type ProxyState, ProxyStates, serialOf } from './proxy-state.ts';
import {
  CPUS,
  controlSocketOf,
  endVm,
  isVmRunning,
  memoryMiBOf,
  PORTS_MAX,
  type ProxyVm,
  portEndpoint,
  portSocketOf,
  startVm,
  tellVm,
} from './proxy-vm.ts';
import { waitUntilReady } from './readiness.ts';

const KVM_TRIAL_MILLISECONDS = 6000;
/** A guest hot-adds in half a second; this is for a machine that does much else. */
const ATTACH_MILLISECONDS = 30_000;
const DETACH_MILLISECONDS = 20_000;

/** Throws permanent Faults: `ApplianceMissing`, `SocketPathTooLong`, `ProxyNetworkMissing`, `ProxyNetworkUnusable`. */
export async function openQemuProxies(options: QemuProxiesOptions): Promise<QemuProxies> {
  const folder = resolve(options.stateDirectory, options.hostId, 'proxies');
  // Ids of proxies have this length. Better now than in the middle of a backup.
  requireSocketPath(join(folder, 'p0000-00000000', 'p30'));
  const directory = resolve(options.applianceDirectory);
  const appliance = await readAppliance(directory);
  if (options.network !== undefined) {
    requireNetworkPorts(appliance, directory);
    await requireBridge(options.network);
  }
  return new BootedProxies(folder, options, directory);
}

class BootedProxies implements QemuProxies {
  readonly #states: ProxyStates;
  readonly #trialFolder: string;
  readonly #options: QemuProxiesOptions;
  readonly #applianceDirectory: string;
  /** One step at a time per proxy; and one conversation at a time per monitor, which an observer needs as well. */
  readonly #steps = new Turns();
  readonly #monitors = new Turns();

  constructor(folder: string, options: QemuProxiesOptions, applianceDirectory: string) {
    this.#states = new ProxyStates(folder);
    this.#trialFolder = join(folder, '..', 'kvm-trial');
    this.#options = options;
    this.#applianceDirectory = applianceDirectory;
  }

  activate(order: Parameters<QemuProxies['activate']>[0]): ReturnType<QemuProxies['activate']> {
    const { proxyId, ports } = order;
    const deadline = Date.now() + order.deadlineSeconds * 1000;
    return this.#steps.take(proxyId, async () => {
      const known = await this.#states.read(proxyId);
      requirePorts(proxyId, ports, known);
      let vm = this.#vm(proxyId, known ?? { ports, address: null });
      try {
        if (known?.lost !== null || !(await isVmRunning(vm))) vm = await this.#boot(vm, deadline);
        await waitUntilReady(vm, deadline - Date.now());
        await this.#update(proxyId, (state) => ({ ...state, ready: true }));
      } catch (cause) {
        await this.#remove(vm);
        throw new Fault(`Activating proxy ${proxyId} failed`, { cause, code: 'ProxyNotActivated' });
      }
      const state = await this.#states.read(proxyId);
      return {
        ports: Array.from({ length: ports }, (_, port) => ({ port, endpoint: portEndpoint(vm, port) })),
        characteristics: {
          sessionsMax: HOT_ADDS_MAX,
          memoryBytes: memoryMiBOf(vm) * MiB,
          processors: CPUS,
          appliance: state?.appliance ?? null,
          accelerator: state?.accelerator ?? null,
        },
      };
    });
  }

  attach(order: DiskOfProxy & { source: DiskSource }): Promise<{ exportName: string }> {
    const { proxyId, ownerId, diskId, source } = order;
    const serial = serialOf(order);
    return this.#steps.take(proxyId, async () => {
      const failure = `Attaching disk ${diskId} of ${ownerId} to proxy ${proxyId} failed`;
      const vm = await this.#livingVm(failure, proxyId);
      await this.#update(proxyId, (state) => ({
        ...state,
        disks: [...state.disks.filter((one) => one.serial !== serial), { ownerId, diskId, serial }],
      }));
      try {
        await this.#tell(vm, (qmp) => addDisk(qmp, serial, source));
        await this.#untilServed(vm, serial, source);
        return { exportName: serial };
      } catch (cause) {
        // What stands of it stays in the state until it has been seen gone.
        await this.#takeAway(vm, order).catch(() => undefined);
        throw wrapped(failure, cause);
      }
    });
  }

  detach(disk: DiskOfProxy): Promise<void> {
    const { proxyId, ownerId, diskId } = disk;
    return this.#steps.take(proxyId, async () => {
      const state = await this.#states.read(proxyId);
      if (!state?.disks.some((one) => one.serial === serialOf(disk))) return;
      const vm = this.#vm(proxyId, state);
      try {
        await this.#takeAway(vm, disk);
      } catch (cause) {
        const failure = `Detaching disk ${diskId} of ${ownerId} from proxy ${proxyId} failed`;
        // A guest that does not do what it is told is of no more use, and its disks cannot be given back while it lives.
        if (cause instanceof Fault && cause.code === 'GuestStuck') {
          await this.#update(proxyId, (one) => ({ ...one, lost: describeError(cause) }));
        }
        throw wrapped(failure, cause);
      }
    });
  }

  deactivate(proxyId: string): Promise<void> {
    return this.#steps.take(proxyId, async () => {
      const state = await this.#states.read(proxyId);
      await this.#remove(this.#vm(proxyId, state ?? { ports: 0, address: null }));
    });
  }

  async observe(): Promise<ObservedQemuProxy[]> {
    return await Promise.all(
      (await this.ids()).map((proxyId) =>
        observeProxy(proxyId, this.#states, (state) => this.#vm(proxyId, state), this.#monitors),
      ),
    );
  }

  ids(): Promise<string[]> {
    return this.#states.ids();
  }

  async accelerator(): Promise<ChosenAccelerator> {
    const said = this.#options.accelerator;
    if (said !== undefined) return { accelerator: said, because: 'it is configured' };
    return await chooseAccelerator(await this.#appliance(), () => this.#tryBoot('kvm'));
  }

  async appliance(): Promise<string> {
    return (await this.#appliance()).build;
  }

  /** Read anew each time: another may be built while this process runs, and is booted from then on. */
  #appliance(): Promise<ApplianceFiles> {
    return readAppliance(this.#applianceDirectory);
  }

  /** Sockets are opened for one call at a time, and nothing else is held. */
  async close(): Promise<void> {}

  /** The VM as it was booted: with the address that it was given. */
  async #boot({ proxyId, ports, ...old }: ProxyVm, deadline: number): Promise<ProxyVm> {
    await endVm({ proxyId, ports, ...old });
    const { accelerator, because } = await this.accelerator();
    const appliance = await this.#appliance();
    const { network } = this.#options;
    const noted = async (address: string | null) => {
      const never = { ready: false, disks: [], lost: null };
      const booted = { accelerator, acceleratorBecause: because, appliance: appliance.build };
      await this.#states.write({ schema: 1, proxyId, ports, address, ...booted, ...never });
      return this.#vm(proxyId, { ports, address });
    };
    const vm = await (network === undefined ? noted(null) : this.#withAddress(proxyId, network, noted));
    if (Date.now() > deadline) throw new Fault('Its time was over before it could be started');
    const onNetwork = network === undefined ? null : { given: network, ...(await requireBridge(network)) };
    await startVm(vm, { appliance, accelerator, network: onNetwork });
    return vm;
  }

  /** An address is taken once it is noted, so one proxy chooses after the other. */
  #withAddress<T>(
    proxyId: string,
    network: ProxyNetwork,
    noted: (address: string) => Promise<T>,
  ): Promise<T> {
    return this.#steps.take('addresses', async () => {
      const all = await this.#states.all().catch((cause: unknown) => {
        throw new Fault('Which addresses proxies have cannot be told, so none is given', { cause });
      });
      const others = all.filter((state) => state.proxyId !== proxyId);
      return await noted(
        chooseAddress(
          network,
          proxyId,
          others.map(({ address }) => address ?? ''),
        ),
      );
    });
  }

  /** Boots a proxy of no use, and ends it. */
  async #tryBoot(accelerator: Accelerator): Promise<void> {
    await this.#steps.take('the trial', async () => {
      const vm: ProxyVm = { proxyId: 'kvm-trial', folder: this.#trialFolder, ports: 1, address: null };
      try {
        await startVm(vm, { appliance: await this.#appliance(), accelerator, network: null });
        await waitUntilReady(vm, KVM_TRIAL_MILLISECONDS);
      } finally {
        await endVm(vm);
        await removeFolder(vm.folder);
      }
    });
  }

  async #livingVm(failure: string, proxyId: string): Promise<ProxyVm> {
    const state = await this.#states.read(proxyId);
    if (state === undefined) throw new Fault(`${failure}: there is no such proxy`, { code: 'ProxyUnknown' });
    if (state.lost !== null) throw new Fault(`${failure}: ${state.lost}`, { code: 'ProxyGone' });
    return this.#vm(proxyId, state);
  }

  async #untilServed(vm: ProxyVm, serial: string, { sizeBytes, access }: DiskSource): Promise<void> {
    const report = await askAppliance(this.#control(vm), `Serving disk ${serial}`, ({ disks }) =>
      disks.some((disk) => disk.serial === serial),
    );
    const disk = report.disks.find((one) => one.serial === serial);
    const seen = disk?.readOnly ? 'read-only' : 'writable';
    if (disk?.bytes === sizeBytes && seen === access) return;
    throw new Fault(
      `The guest sees ${disk?.bytes} bytes, ${seen}, and the disk has ${sizeBytes}, ${access}`,
      { permanent: true, code: 'DiskDiffers' },
    );
  }

  /** A VM that is gone has let go of everything. */
  async #takeAway(vm: ProxyVm, disk: DiskOfProxy): Promise<void> {
    const serial = serialOf(disk);
    if (await isVmRunning(vm)) {
      await this.#tell(vm, (qmp) => removeDisk(qmp, serial, DETACH_MILLISECONDS));
      // Until the guest has seen it go: attached again, it would be taken for served by the report of before.
      await askAppliance(
        this.#control(vm),
        `Disk ${serial} being served no more`,
        ({ disks }) => !disks.some((one) => one.serial === serial),
      );
    }
    await this.#update(vm.proxyId, (state) => ({
      ...state,
      disks: state.disks.filter((one) => one.serial !== serial),
    }));
  }

  async #remove(vm: ProxyVm): Promise<void> {
    await endVm(vm);
    await this.#states.forget(vm.proxyId);
  }

  /** Steps of one proxy come one after the other, so nobody writes in between. */
  async #update(proxyId: string, change: (state: ProxyState) => ProxyState): Promise<void> {
    const state = await this.#states.read(proxyId);
    if (state !== undefined) await this.#states.write(change(state));
  }

  #tell<T>(vm: ProxyVm, work: Parameters<typeof tellVm<T>>[1]): Promise<T> {
    return this.#monitors.take(vm.proxyId, () => tellVm(vm, work));
  }

  #control(vm: ProxyVm): ControlOptions {
    return { path: controlSocketOf(vm), target: `proxy ${vm.proxyId}`, milliseconds: ATTACH_MILLISECONDS };
  }

  #vm(proxyId: string, { ports, address }: Pick<ProxyState, 'ports' | 'address'>): ProxyVm {
    const vm = { proxyId, ports, address, folder: this.#states.folderOf(proxyId) };
    requireSocketPath(portSocketOf(vm, PORTS_MAX));
    return vm;
  }
}

function requirePorts(proxyId: string, ports: number, known: ProxyState | undefined): void {
  if (!Number.isInteger(ports) || ports < 1 || ports > PORTS_MAX) {
    throw new Fault(`Proxy ${proxyId} cannot have ${ports} ports: 1 to ${PORTS_MAX} are possible`, {
      permanent: true,
      code: 'PortsUnusable',
    });
  }
  if (known !== undefined && known.ports !== ports) {
    throw new Fault(`Proxy ${proxyId} is there with ${known.ports} ports, and ${ports} were asked for`, {
      permanent: true,
      code: 'ProxyDiffers',
    });
  }
}

/** Keeps what the cause says of itself: its code, and whether a retry can help. */
function wrapped(failure: string, cause: unknown): Fault {
  const code = cause instanceof Fault ? cause.code : undefined;
  return new Fault(failure, { cause, ...(code === undefined ? {} : { code }) });
}

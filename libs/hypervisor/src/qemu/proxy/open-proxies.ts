/** Proxy VMs, composed: the state file says what was meant, QMP and the control channel what is there (`proxies.ts`). */
import { join, resolve } from 'node:path';
import type { Acceleration, ProxyNetwork } from '@backhaul/contracts';
import { describeError, Fault, MiB } from '@backhaul/kernel';
import { requireSocketPath } from '../../directory/storage-daemon.ts';
import { removeFolder } from '../../state-file.ts';
import { Turns } from '../../turns.ts';
import { type Accelerator, acceleratorHere, bareTrial } from './accelerator.ts';
import { type ApplianceFiles, readAppliance, requireNetworkPorts } from './appliance-files.ts';
import { askAppliance, type Report } from './control-channel.ts';
import { addDisk, hotAddsMax, removeDisk } from './hot-add.ts';
import { observeProxy, type TurnsOfProxies } from './observe-proxy.ts';
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

/** It takes a second; this is for a machine that does much else. */
const KVM_TRIAL_MILLISECONDS = 10_000;
/** A guest hot-adds in half a second; this is for a machine that does much else. */
const ATTACH_MILLISECONDS = 30_000;
const DETACH_MILLISECONDS = 20_000;

/** Looks at nothing yet: what is there is given back and observed whatever has become of the appliance and of the network. */
export const openQemuProxies = (options: QemuProxiesOptions): QemuProxies =>
  new BootedProxies(resolve(options.stateDirectory, options.hostId, 'proxies'), options);

class BootedProxies implements QemuProxies {
  readonly #states: ProxyStates;
  readonly #trialFolder: string;
  readonly #folder: string;
  readonly #options: QemuProxiesOptions;
  /** One step at a time; and one conversation at a time, which an observer wants as well. */
  readonly #turns: TurnsOfProxies = { steps: new Turns(), monitors: new Turns(), controls: new Turns() };

  constructor(folder: string, options: QemuProxiesOptions) {
    this.#folder = folder;
    this.#states = new ProxyStates(folder);
    this.#trialFolder = join(folder, '..', 'kvm-trial');
    this.#options = options;
  }

  async requireBootable(): Promise<void> {
    // Ids of proxies have this length. Better now than in the middle of a backup.
    requireSocketPath(join(this.#folder, 'p0000-00000000', 'p30'));
    await this.#bootable();
  }

  activate(order: Parameters<QemuProxies['activate']>[0]): ReturnType<QemuProxies['activate']> {
    const { proxyId, ports } = order;
    const deadline = Date.now() + order.deadlineSeconds * 1000;
    return this.#turns.steps.take(proxyId, async () => {
      const known = await this.#states.read(proxyId);
      requirePorts(proxyId, ports, known);
      let vm = this.#vm(proxyId, known ?? { ports, address: null });
      try {
        if (known?.lost !== null || !(await isVmRunning(vm))) vm = await this.#boot(vm, deadline);
        const booted = vm;
        await this.#turns.controls.take(proxyId, () => waitUntilReady(booted, deadline - Date.now()));
        await this.#update(proxyId, (state) => ({ ...state, ready: true }));
      } catch (cause) {
        await this.#remove(vm);
        throw new Fault(`Activating proxy ${proxyId} failed`, { cause, code: 'ProxyNotActivated' });
      }
      const state = await this.#states.read(proxyId);
      return {
        ports: Array.from({ length: ports }, (_, port) => ({ port, endpoint: portEndpoint(vm, port) })),
        characteristics: {
          sessionsMax: hotAddsMax({ isOnNetwork: vm.address !== null }),
          memoryBytes: memoryMiBOf(vm) * MiB,
          processors: CPUS,
          appliance: state?.appliance ?? null,
          accelerator: state?.accelerator ?? null,
          acceleratorBecause: state?.acceleratorBecause ?? null,
        },
      };
    });
  }

  attach(order: DiskOfProxy & { source: DiskSource }): Promise<{ exportName: string }> {
    const { proxyId, ownerId, diskId, source } = order;
    const serial = serialOf(order);
    return this.#turns.steps.take(proxyId, async () => {
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
    return this.#turns.steps.take(proxyId, async () => {
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
    return this.#turns.steps.take(proxyId, async () => {
      const state = await this.#states.read(proxyId);
      await this.#remove(this.#vm(proxyId, state ?? { ports: 0, address: null }));
    });
  }

  async observe(): Promise<ObservedQemuProxy[]> {
    return await Promise.all(
      (await this.ids()).map((proxyId) =>
        observeProxy(proxyId, this.#states, (state) => this.#vm(proxyId, state), this.#turns),
      ),
    );
  }

  ids(): Promise<string[]> {
    return this.#states.ids();
  }

  async accelerator(): Promise<Acceleration> {
    const said = this.#options.accelerator;
    if (said !== undefined) return { accelerator: said, because: 'it is configured' };
    const appliance = await this.#appliance().catch(() => undefined);
    if (appliance === undefined) return await acceleratorHere.choose(bareTrial);
    return await acceleratorHere.choose({
      name: appliance.digest,
      doing: 'boot the appliance',
      run: () => this.#tryBoot(appliance, 'kvm'),
    });
  }

  async appliance(): Promise<string> {
    return (await this.#appliance()).build;
  }

  /** What a proxy would be booted from now, and where its ports would be; or a Fault that says what is missing. */
  async #bootable() {
    const { network } = this.#options;
    const appliance = await this.#appliance();
    if (network === undefined) return { appliance, onNetwork: null };
    requireNetworkPorts(appliance);
    return { appliance, onNetwork: { given: network, ...(await requireBridge(network)) } };
  }

  /** Read anew each time: another may be built while this process runs, and is booted from then on. */
  async #appliance(): Promise<ApplianceFiles> {
    const { hostId, applianceDirectory } = this.#options;
    if (applianceDirectory !== undefined) return await readAppliance(resolve(applianceDirectory));
    throw new Fault(`Host ${hostId} has no proxy appliance: BACKHAUL_APPLIANCE_DIRECTORY is not set`, {
      permanent: true,
      code: 'ApplianceMissing',
    });
  }

  /** Sockets are opened for one call at a time, and nothing else is held. */
  async close(): Promise<void> {}

  /** The VM as it was booted: with the address that it was given. */
  async #boot({ proxyId, ports, ...old }: ProxyVm, deadline: number): Promise<ProxyVm> {
    await endVm({ proxyId, ports, ...old });
    const { appliance, onNetwork } = await this.#bootable();
    const { accelerator, because } = await this.accelerator();
    const noted = async (address: string | null) => {
      const never = { ready: false, disks: [], lost: null };
      const booted = { accelerator, acceleratorBecause: because, appliance: appliance.build };
      await this.#states.write({ schema: 1, proxyId, ports, address, ...booted, ...never });
      return this.#vm(proxyId, { ports, address });
    };
    const vm = await (onNetwork === null ? noted(null) : this.#withAddress(proxyId, onNetwork.given, noted));
    if (Date.now() > deadline) throw new Fault('Its time was over before it could be started');
    await startVm(vm, { appliance, accelerator, network: onNetwork });
    return vm;
  }

  /** An address is taken once it is noted, so one proxy chooses after the other. */
  #withAddress<T>(
    proxyId: string,
    network: ProxyNetwork,
    noted: (address: string) => Promise<T>,
  ): Promise<T> {
    return this.#turns.steps.take('addresses', async () => {
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
  async #tryBoot(appliance: ApplianceFiles, accelerator: Accelerator): Promise<void> {
    await this.#turns.steps.take('the trial', async () => {
      const vm: ProxyVm = { proxyId: 'kvm-trial', folder: this.#trialFolder, ports: 1, address: null };
      try {
        await startVm(vm, { appliance, accelerator, network: null });
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
    const report = await this.#ask(vm, `Serving disk ${serial}`, ({ disks }) =>
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
      await this.#ask(
        vm,
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
    return this.#turns.monitors.take(vm.proxyId, () => tellVm(vm, work));
  }

  /** The time begins when others have had their say. */
  #ask(vm: ProxyVm, what: string, found: (report: Report) => boolean): Promise<Report> {
    const { proxyId } = vm;
    const options = {
      path: controlSocketOf(vm),
      target: `proxy ${proxyId}`,
      milliseconds: ATTACH_MILLISECONDS,
    };
    return this.#turns.controls.take(proxyId, () => askAppliance(options, what, found));
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

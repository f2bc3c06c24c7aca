/**
 * The QEMU process of one proxy VM: its command line, its start, its end. Beside what every process of ours has (qemu-process.ts) its
 * folder has its sockets: `qmp`, `ctl` (control channel) and, where its ports are not on a network, `p0`, `p1` ... (ports). The names are
 * short because a socket's path has 107 bytes at most.
 */
import { join } from 'node:path';
import type { ProxyNetwork } from '@backhaul/contracts';
import { Fault, invariant } from '@backhaul/kernel';
import { requireSocketPath } from '../../directory/storage-daemon.ts';
import { endProcess, processesNaming } from '../../processes.ts';
import { type QmpClient, withQmp } from '../../qmp.ts';
import {
  boundConsole as boundConsoleOfQemu,
  consoleOf,
  endQemu,
  escaped,
  isQemuRunning,
  lastWordsOf as lastWordsOfQemu,
  QEMU,
  type QemuProcess,
  startQemu,
} from '../qemu-process.ts';
import type { Accelerator } from './accelerator.ts';
import type { ApplianceFiles } from './appliance-files.ts';
import { applianceOptions, networkArguments, tcpEndpoint } from './proxy-network.ts';

export interface ProxyVm {
  readonly proxyId: string;
  readonly folder: string;
  readonly ports: number;
  /** On the network where its ports are, with its prefix; null where they are virtio-serial channels. */
  readonly address: string | null;
}

/** What it boots, and how. */
export interface Boot {
  readonly appliance: ApplianceFiles;
  readonly accelerator: Accelerator;
  /** Of a VM that has an address. */
  readonly network: { readonly given: ProxyNetwork; readonly mtu: number } | null;
}

/** One virtio-serial device has 31 ports, and the control channel is one of them. */
export const PORTS_MAX = 30;
/** The appliance, with room for what its servers hold: four requests of 256 KiB per port, threads and stacks. */
const MEMORY_MIB = 128;
const MEMORY_MIB_PER_PORT = 4;
/** A second one overlaps the servers' work with the disk's; more barely help (docs: measured). */
export const CPUS = 2;

export const memoryMiBOf = ({ ports }: ProxyVm): number => MEMORY_MIB + MEMORY_MIB_PER_PORT * ports;

export const qmpSocketOf = (vm: ProxyVm): string => join(vm.folder, 'qmp');
export const controlSocketOf = (vm: ProxyVm): string => join(vm.folder, 'ctl');
export const portSocketOf = (vm: ProxyVm, port: number): string => join(vm.folder, `p${port}`);
const processOf = (vm: ProxyVm): QemuProcess => ({ what: `proxy ${vm.proxyId}`, folder: vm.folder });

export const portEndpoint = (vm: ProxyVm, port: number): string =>
  vm.address === null
    ? `nbd+unix:///?socket=${portSocketOf(vm, port).split('/').map(encodeURIComponent).join('/')}`
    : tcpEndpoint(vm.address, port);

export function vmArguments(vm: ProxyVm, { appliance, accelerator, network }: Boot): string[] {
  const { address } = vm;
  invariant(
    (network === null) === (address === null),
    'A proxy on a network has an address, and no other has',
  );
  const onNetwork = network === null || address === null ? null : { ...network, address };
  const socket = (id: string, path: string) => `socket,id=${id},path=${escaped(path)},server=on,wait=off`;
  const channel = (id: string, path: string, name: string) => [
    '-chardev',
    socket(id, path),
    '-device',
    `virtserialport,chardev=${id},name=org.backhaul.${name}`,
  ];
  return [
    ...['-name', `backhaul proxy ${escaped(vm.proxyId)}`],
    // PCI hot-plug is built into this machine; nothing that is not named here is part of it.
    ...['-M', 'pc', '-accel', accelerator, '-smp', String(CPUS)],
    ...(accelerator === 'kvm' ? ['-cpu', 'host'] : []),
    ...['-m', String(memoryMiBOf(vm))],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', appliance.kernel, '-initrd', appliance.initramfs],
    // A panic ends the process, so that it is seen.
    ...[
      '-append',
      [
        'console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests',
        ...(onNetwork === null ? [] : applianceOptions(onNetwork.given, onNetwork.address, vm.ports)),
      ].join(' '),
    ],
    ...[
      '-chardev',
      `file,id=console,path=${escaped(consoleOf(processOf(vm)))},append=on`,
      '-serial',
      'chardev:console',
    ],
    ...['-chardev', socket('qmp', qmpSocketOf(vm)), '-mon', 'chardev=qmp,mode=control'],
    ...['-device', `virtio-serial-pci,max_ports=${PORTS_MAX + 1}`],
    ...channel('control', controlSocketOf(vm), 'control'),
    ...(onNetwork === null
      ? Array.from({ length: vm.ports }, (_, port) =>
          channel(`port${port}`, portSocketOf(vm, port), `port.${port}`),
        ).flat()
      : networkArguments(onNetwork.given, onNetwork.mtu)),
  ];
}

/** Starts the process, and no second one. Whether the guest comes up is for the caller to ask. */
export async function startVm(vm: ProxyVm, boot: Boot): Promise<void> {
  requireSocketPath(portSocketOf(vm, PORTS_MAX));
  if (await isVmRunning(vm)) return;
  // One whose caller died before it could write down which it is.
  await endVm(vm);
  try {
    await startQemu(processOf(vm), vmArguments(vm, boot));
  } catch (cause) {
    throw new Fault(`Starting proxy ${vm.proxyId} failed`, { cause, code: 'ProxyNotStarted' });
  }
}

export const isVmRunning = (vm: ProxyVm): Promise<boolean> => isQemuRunning(processOf(vm));

/** Ends the process and sees it gone. None is success. Its files stay. */
export async function endVm(vm: ProxyVm): Promise<void> {
  await endQemu(processOf(vm));
  for (const stray of await processesNaming(QEMU, qmpSocketOf(vm)))
    await endProcess(`proxy ${vm.proxyId}`, stray);
}

/** What QEMU and the guest's console said last, as far as they said anything. */
export const lastWordsOf = (vm: ProxyVm): Promise<string> => lastWordsOfQemu(processOf(vm));

export const boundConsole = (vm: ProxyVm): Promise<void> => boundConsoleOfQemu(processOf(vm));

export async function tellVm<T>(vm: ProxyVm, work: (qmp: QmpClient) => Promise<T>): Promise<T> {
  if (!(await isVmRunning(vm))) {
    throw new Fault(`Proxy ${vm.proxyId} is gone: ${await lastWordsOf(vm)}`, { code: 'ProxyGone' });
  }
  return await withQmp({ path: qmpSocketOf(vm), target: `proxy ${vm.proxyId}` }, work);
}

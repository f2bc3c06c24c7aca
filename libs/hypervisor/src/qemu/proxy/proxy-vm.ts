/**
 * The QEMU process of one proxy VM: its command line, its start, its end. It is started detached, so that it outlives its
 * caller, and found again by the files in its folder: `qmp`, `ctl` (control channel), `p0`, `p1` ... (ports), `pid.json`,
 * `console.log` (the guest), `qemu.log` (QEMU itself). The names are short because a socket's path has 107 bytes at most.
 */
import { spawn } from 'node:child_process';
import { mkdir, open, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Fault, MiB } from '@backhaul/kernel';
import { requireSocketPath } from '../../directory/storage-daemon.ts';
import { endProcess, isRunning, markOf, ProcessMark, processesNaming } from '../../processes.ts';
import { type QmpClient, withQmp } from '../../qmp.ts';
import { readState, writeState } from '../../state-file.ts';
import { lastPart } from '../../tool.ts';
import type { Accelerator } from './accelerator.ts';
import type { ApplianceFiles } from './appliance-files.ts';

export interface ProxyVm {
  readonly proxyId: string;
  readonly folder: string;
  readonly ports: number;
}

export const QEMU = 'qemu-system-x86_64';
/** One virtio-serial device has 31 ports, and the control channel is one of them. */
export const PORTS_MAX = 30;
/** The appliance, with room for what its servers hold: four requests of 256 KiB per port, threads and stacks. */
const MEMORY_MIB = 128;
const MEMORY_MIB_PER_PORT = 4;
/** A second one overlaps the servers' work with the disk's; more barely help (docs: measured). */
const CPUS = 2;
const CONSOLE_BYTES_MAX = 1 * MiB;

export const qmpSocketOf = (vm: ProxyVm): string => join(vm.folder, 'qmp');
export const controlSocketOf = (vm: ProxyVm): string => join(vm.folder, 'ctl');
export const portSocketOf = (vm: ProxyVm, port: number): string => join(vm.folder, `p${port}`);
const consoleOf = (vm: ProxyVm): string => join(vm.folder, 'console.log');
const logOf = (vm: ProxyVm): string => join(vm.folder, 'qemu.log');
const pidFileOf = (vm: ProxyVm): string => join(vm.folder, 'pid.json');

export const portEndpoint = (vm: ProxyVm, port: number): string =>
  `nbd+unix:///?socket=${portSocketOf(vm, port).split('/').map(encodeURIComponent).join('/')}`;

/** The command line; QEMU reads commas in its options as separators unless they are doubled. */
export function vmArguments(vm: ProxyVm, appliance: ApplianceFiles, accelerator: Accelerator): string[] {
  const escaped = (path: string) => path.replaceAll(',', ',,');
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
    ...['-m', String(MEMORY_MIB + MEMORY_MIB_PER_PORT * vm.ports)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', appliance.kernel, '-initrd', appliance.initramfs],
    // A panic ends the process, so that it is seen.
    ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off'],
    ...['-chardev', `file,id=console,path=${escaped(consoleOf(vm))},append=on`, '-serial', 'chardev:console'],
    ...['-chardev', socket('qmp', qmpSocketOf(vm)), '-mon', 'chardev=qmp,mode=control'],
    ...['-device', `virtio-serial-pci,max_ports=${PORTS_MAX + 1}`],
    ...channel('control', controlSocketOf(vm), 'control'),
    ...Array.from({ length: vm.ports }, (_, port) =>
      channel(`port${port}`, portSocketOf(vm, port), `port.${port}`),
    ).flat(),
  ];
}

/** Starts the process, and no second one. Whether the guest comes up is for the caller to ask. */
export async function startVm(
  vm: ProxyVm,
  appliance: ApplianceFiles,
  accelerator: Accelerator,
): Promise<void> {
  requireSocketPath(portSocketOf(vm, PORTS_MAX));
  if (await isVmRunning(vm)) return;
  // One whose caller died before it could write down which it is.
  await endVm(vm);
  await mkdir(vm.folder, { recursive: true });
  const log = await open(logOf(vm), 'w');
  try {
    const child = spawn(QEMU, vmArguments(vm, appliance, accelerator), {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('spawn', resolve);
    });
    child.unref();
    const mark = child.pid === undefined ? undefined : await markOf(child.pid);
    if (mark !== undefined) await writeState(pidFileOf(vm), mark);
  } catch (cause) {
    throw new Fault(`Starting ${QEMU} for proxy ${vm.proxyId} failed`, { cause, code: 'ProxyNotStarted' });
  } finally {
    await log.close();
  }
}

export async function isVmRunning(vm: ProxyVm): Promise<boolean> {
  const mark = await readState(pidFileOf(vm), ProcessMark);
  return mark !== undefined && (await isRunning(mark));
}

/** Ends the process and sees it gone. None is success. Its files stay. */
export async function endVm(vm: ProxyVm): Promise<void> {
  const what = `proxy ${vm.proxyId}`;
  const mark = await readState(pidFileOf(vm), ProcessMark);
  if (mark !== undefined) await endProcess(what, mark);
  for (const stray of await processesNaming(QEMU, qmpSocketOf(vm))) await endProcess(what, stray);
}

/** What QEMU and the guest's console said last, as far as they said anything. */
export async function lastWordsOf(vm: ProxyVm): Promise<string> {
  const tail = async (path: string) => {
    // A console writes escape sequences for terminals.
    const text = stripVTControlCharacters(await readFile(path, 'utf8').catch(() => '')).trim();
    // After a panic come traces; what matters is how it begins.
    const panic = text.lastIndexOf('Kernel panic');
    return panic < 0 ? lastPart(text, 600) : text.slice(panic, panic + 300);
  };
  const [qemu, guest] = await Promise.all([tail(logOf(vm)), tail(consoleOf(vm))]);
  return [
    qemu === '' ? undefined : `QEMU said: ${qemu}`,
    guest === '' ? 'its console said nothing' : `its console said last: ${guest}`,
  ]
    .filter((part) => part !== undefined)
    .join('; ');
}

/** The guest may write to its console as much as it likes; what is kept of it is bounded. QEMU appends, so this is safe. */
export async function boundConsole(vm: ProxyVm): Promise<void> {
  const { size } = await open(consoleOf(vm)).then(
    async (file) => {
      const found = await file.stat();
      await file.close();
      return found;
    },
    () => ({ size: 0 }),
  );
  if (size > CONSOLE_BYTES_MAX) await truncate(consoleOf(vm), 0);
}

export async function tellVm<T>(vm: ProxyVm, work: (qmp: QmpClient) => Promise<T>): Promise<T> {
  if (!(await isVmRunning(vm))) {
    throw new Fault(`Proxy ${vm.proxyId} is gone: ${await lastWordsOf(vm)}`, { code: 'ProxyGone' });
  }
  return await withQmp({ path: qmpSocketOf(vm), target: `proxy ${vm.proxyId}` }, work);
}

/**
 * Starts a defined VM: a QEMU process of its own, with its monitor and its agent's channel where every VM of the host has them, so that it
 * can be backed up at once. The end of what its serial console said is kept in its folder. It has no network: a copy of a VM that came back beside
 * the original must not answer in its name.
 */
import { join } from 'node:path';
import { Acceleration } from '@backhaul/contracts';
import { eventually, Fault } from '@backhaul/kernel';
import { requireSocketPath } from '../directory/storage-daemon.ts';
import { readState, writeState } from '../state-file.ts';
import type { DefinedVms, VmDefinition } from './defined-vms.ts';
import { diskNode, isMounted, mountBlockdev, mountNode } from './mounted-disk.ts';
import type { Accelerator } from './proxy/accelerator.ts';
import {
  boundConsole,
  consoleOf,
  endQemu,
  escaped,
  isQemuRunning,
  lastWordsOf,
  type QemuProcess,
  startQemu,
} from './qemu-process.ts';
import { RunState } from './rescue.ts';
import type { VmFolder } from './vm-folder.ts';

const START_MILLISECONDS = 30_000;
/** What this machine has room for: PCI slots, and processors. */
export const DISKS_MAX = 24;
export const CPUS_MAX = 255;
/** Of a virtio disk. */
const SERIAL_CHARACTERS = 20;

export interface VmStartSite {
  readonly hostId: string;
  readonly vms: VmFolder;
  readonly defined: DefinedVms;
  accelerator(): Promise<Acceleration>;
}

export const processOf = ({ vms, defined }: VmStartSite, vmId: string): QemuProcess => ({
  what: vms.nameOf(vmId),
  folder: defined.folderOf(vmId),
});

/** Whether it runs, as far as its monitor or its process tells. */
export async function isVmRunning(site: VmStartSite, vmId: string): Promise<boolean> {
  return (await site.vms.isRunning(vmId)) || (await isQemuRunning(processOf(site, vmId)));
}

/** What it was started with is noted before, beside what else is of the process: another caller may find it running. */
const accelerationFileOf = (process: QemuProcess): string => join(process.folder, 'acceleration.json');

/**
 * Resolves when the machine runs; whether the system on its disks comes up is for its console to say. One that runs is left alone.
 * `acceleration`: absent where nobody noted it, as of a VM that was started by hand.
 */
export async function startVm(
  site: VmStartSite,
  definition: VmDefinition,
): Promise<{ acceleration?: Acceleration }> {
  const { vmId } = definition;
  const process = processOf(site, vmId);
  let begun = false;
  try {
    for (const path of [site.vms.monitorOf(vmId), site.vms.nbdSocketOf(vmId)]) requireSocketPath(path);
    if (!(await isVmRunning(site, vmId))) {
      const acceleration = await site.accelerator();
      await writeState(accelerationFileOf(process), acceleration);
      begun = true;
      await startQemu(process, await vmArguments(site, definition, acceleration.accelerator));
    }
    await eventually('Its machine running', START_MILLISECONDS, async () => {
      const status = await statusOf(site, vmId);
      if (status === 'running') return true;
      // Its monitor listens before it has all that it needs.
      if (status === undefined && begun && !(await isQemuRunning(process)))
        throw new Fault(`its process ended; ${await lastWordsOf(process)}`);
      return undefined;
    });
    if (!(await isQemuRunning(process))) return {};
    const acceleration = await readState(accelerationFileOf(process), Acceleration);
    return acceleration === undefined ? {} : { acceleration };
  } catch (cause) {
    // Only what was started here: another may run well and not answer now.
    if (begun) await endQemu(process);
    throw new Fault(`${site.vms.nameOf(vmId)} did not start`, { cause, code: 'VmNotStarted' });
  }
}

/** Of every VM that was started here. One that cannot be bounded now is met again at the next look. */
export async function boundConsoles(site: VmStartSite): Promise<void> {
  const vmIds = await site.defined.vmIds();
  await Promise.all(vmIds.map((vmId) => boundConsole(processOf(site, vmId)).catch(() => undefined)));
}

/** Undefined as long as its monitor does not answer. */
export async function statusOf({ vms }: VmStartSite, vmId: string): Promise<string | undefined> {
  if (!(await vms.isRunning(vmId))) return undefined;
  const asked = vms.tell(vmId, (qmp) => qmp.execute('query-status', { reply: RunState }));
  return await asked.then(
    ({ status }) => status,
    () => undefined,
  );
}

async function vmArguments(
  site: VmStartSite,
  definition: VmDefinition,
  accelerator: Accelerator,
): Promise<string[]> {
  const { vmId, machine, disks, mounts } = definition;
  const socket = (id: string, path: string) => `socket,id=${id},path=${escaped(path)},server=on,wait=off`;
  const paths = await Promise.all(disks.map(({ diskId }) => site.defined.diskOf(definition, diskId)));
  const images = await Promise.all(
    paths.map(async (path, index) => {
      const mount = mounts?.[disks[index]?.diskId ?? ''];
      return { path, mount: mount !== undefined && (await isMounted(path)) ? mount : undefined };
    }),
  );
  return [
    // One that powers itself off stays until its disks are filled, or will not be (fill.ts).
    ...(mounts === undefined ? [] : ['-action', 'shutdown=pause']),
    ...['-name', vmId, '-M', 'pc', '-accel', accelerator, '-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ...['-smp', String(machine.cpus), '-m', String(machine.memoryMiB)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'std'],
    ...['-chardev', `file,id=console,path=${escaped(consoleOf(processOf(site, vmId)))},append=on`],
    ...['-serial', 'chardev:console'],
    ...['-chardev', socket('monitor', site.vms.monitorOf(vmId)), '-mon', 'chardev=monitor,mode=control'],
    ...['-chardev', socket('agent', site.vms.agentSocketOf(vmId)), '-device', 'virtio-serial-pci'],
    ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ...images.flatMap(({ path, mount }, index) => [
      ...(mount === undefined ? [] : ['-blockdev', JSON.stringify(mountBlockdev(index, mount))]),
      '-blockdev',
      JSON.stringify({
        driver: 'qcow2',
        'node-name': diskNode(index),
        discard: 'unmap',
        file: { driver: 'file', filename: path, discard: 'unmap' },
        ...(mount === undefined ? {} : { backing: mountNode(index) }),
      }),
    ]),
    ...disks.flatMap(({ diskId }, index) => [
      '-device',
      // The id is what a backup of it will call the disk.
      `virtio-blk-pci,drive=${diskNode(index)},id=${diskId},serial=${diskId.slice(0, SERIAL_CHARACTERS)},bootindex=${index + 1}`,
    ]),
  ];
}

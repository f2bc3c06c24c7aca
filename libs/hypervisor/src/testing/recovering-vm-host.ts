/**
 * A qemu host for tests of recoveries: its source VM is one that the host itself could have defined, so that another can take its place.
 * VMs that were kept and run end with it.
 */
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '@backhaul/kernel';
import { z } from 'zod';
import { endProcess, processesNaming } from '../processes.ts';
import { DefinedVms } from '../qemu/defined-vms.ts';
import { QEMU } from '../qemu/qemu-process.ts';
import { withQmp } from '../qmp.ts';
import type { RecoveryFixture } from '../recovery-contract.ts';
import { runTool } from '../tool.ts';
import { makeVmHost, type VmHost } from './vm-host.ts';

export interface RecoveringVmHost extends VmHost, RecoveryFixture {
  readonly defined: DefinedVms;
  /** The console of a VM that was kept. */
  consoleOf(vmId: string): Promise<string>;
  statusOf(vmId: string): Promise<string>;
  /** By QEMU's own word. */
  hasKvm(vmId: string): Promise<boolean>;
  pidsOf(vmId: string): Promise<number[]>;
  /** A disk that is to be a VM's, as its image has it. */
  staged(vmId: string, targetId: string, diskId: string): Promise<Buffer>;
}

const DAEMON = 'qemu-storage-daemon';
const milliseconds = 30_000;

export async function makeRecoveringVmHost(options: {
  applianceDirectory?: string;
}): Promise<RecoveringVmHost> {
  const host = await makeVmHost(options);
  const { vmId, folder, stateFolder } = host;
  const defined = new DefinedVms(folder);
  const diskPath = (name: string, diskId: string) => join(defined.folderOf(name), `${diskId}.qcow2`);

  await mkdir(defined.folderOf(vmId), { recursive: true });
  const disks = [];
  for (const [diskId, ...commands] of [
    ['system', 'write -P 0x11 0 2M'],
    ['data', 'write -P 0x33 1M 3M'],
  ] as const) {
    const disk = await host.create(`${diskId}.qcow2`, '8M');
    await host.io(disk, ...commands);
    await rename(disk.path, diskPath(vmId, diskId));
    disks.push({ ...disk, path: diskPath(vmId, diskId) });
  }
  await defined.define({
    schema: 1,
    vmId,
    targetId: null,
    replaced: [],
    machine: { memoryMiB: 64, cpus: 1 },
    disks: disks.map(({ diskId }) => ({ diskId })),
  });
  await host.start(vmId, disks);

  const read = async (path: string): Promise<Buffer> => {
    const copy = join(folder, 'copy.raw');
    await runTool('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', path, copy], { milliseconds });
    const contents = await readFile(copy);
    await rm(copy);
    return contents;
  };
  const daemons = () => processesNaming(DAEMON, stateFolder);
  return {
    ...host,
    defined,
    startsVms: true,
    // It runs from the start.
    turnOn: async () => undefined,
    turnOff: () => host.vm().quit(),
    async contentsOf(name, diskId) {
      if (name === vmId && (await host.isOn())) return await host.contents(diskId);
      // Any other guest has just been started, and has not written.
      return await read(diskPath(name, diskId));
    },
    staged: (name, targetId, diskId) => read(defined.stagedDisk(name, targetId, diskId)),
    allocatedBytes: async (name, diskId) => (await stat(diskPath(name, diskId))).blocks * 512,
    consoleOf: (name) => readFile(join(defined.folderOf(name), 'console.log'), 'utf8').catch(() => ''),
    statusOf: (name) =>
      withQmp({ path: join(folder, `${name}.qmp`), target: name }, async (qmp) => {
        return (await qmp.execute('query-status', { reply: z.object({ status: z.string() }) })).status;
      }),
    hasKvm: (name) =>
      withQmp({ path: join(folder, `${name}.qmp`), target: name }, async (qmp) => {
        return (await qmp.execute('query-kvm', { reply: z.object({ enabled: z.boolean() }) })).enabled;
      }),
    async pidsOf(name) {
      return (await processesNaming(QEMU, join(folder, `${name}.qmp`))).map(({ pid }) => pid);
    },
    async killTargetServer(targetId) {
      const part = join(stateFolder, 'targets', targetId);
      for (const { pid } of await processesNaming(DAEMON, part)) process.kill(pid, 'SIGKILL');
      await eventually('The end of the server', milliseconds, async () =>
        (await processesNaming(DAEMON, part)).length === 0 ? true : undefined,
      );
    },
    async leftovers() {
      const staged = await readdir(join(defined.path, '.targets'), { recursive: true }).catch(() => []);
      return [
        ...(await host.leftovers()),
        ...staged.map((name) => `staged ${name}`),
        ...(await daemons()).map(({ pid }) => `process ${pid}`),
      ].sort();
    },
    async remove() {
      for (const mark of [...(await processesNaming(QEMU, folder)), ...(await daemons())])
        await endProcess('a process of a test', mark);
      await host.remove();
    },
  };
}

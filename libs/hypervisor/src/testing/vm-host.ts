/** A qemu host for tests, with source VMs that are real QEMU processes: every trace of it is gone after `remove`. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeError, eventually } from '@backhaul/kernel';
import { z } from 'zod';
import type { HypervisorHost } from '../host.ts';
import type { HostFixture } from '../host-contract.ts';
import { openHost } from '../open-host.ts';
import { endProcess, markOf, processesNaming } from '../processes.ts';
import { runTool } from '../tool.ts';
import { type SourceDisk, type SourceVm, startSourceVm } from './source-vm.ts';

export interface VmHost extends HostFixture {
  /** Where sockets of VMs are. */
  readonly folder: string;
  readonly stateFolder: string;
  readonly options: Parameters<typeof openHost>[0];
  /** The VM that `vmId` names, as it was started last. */
  vm(): SourceVm;
  isOn(): Promise<boolean>;
  path(name: string): string;
  create(name: string, size: string, ...options: string[]): Promise<SourceDisk>;
  /** Runs `qemu-io` on an image at rest. */
  io(disk: SourceDisk, ...commands: string[]): Promise<string>;
  start(vmId: string, disks: readonly SourceDisk[], ...more: string[]): Promise<SourceVm>;
}

const milliseconds = 30_000;
const Nodes = z.array(
  z.object({
    'node-name': z.string(),
    'dirty-bitmaps': z.array(z.object({ name: z.string().default('') })).default([]),
  }),
);
const Exports = z.array(z.object({ id: z.string() }));

export async function makeVmHost(
  options: { applianceDirectory?: string; scratchDirectory?: string; answerMilliseconds?: number } = {},
): Promise<VmHost> {
  const root = await mkdtemp(join(tmpdir(), 'bh-'));
  const folder = join(root, 'vms');
  const images = join(root, 'images');
  const stateDirectory = join(root, 's');
  const stateFolder = join(stateDirectory, 'h1');
  const scratchFolder = options.scratchDirectory ?? join(stateFolder, 'scratch');
  for (const each of [folder, images]) await mkdir(each);
  const running = new Map<string, SourceVm>();
  const hostOptions = {
    hostId: 'h1',
    kind: 'qemu',
    address: folder,
    stateDirectory,
    agentMilliseconds: 500,
    freezeMilliseconds: 500,
    ...options,
  };
  const path = (name: string) => join(images, name);
  const mine = async () => [
    ...(await processesNaming('qemu-system-x86_64', stateFolder)),
    ...(await processesNaming(process.execPath, folder)),
  ];

  const self: VmHost = {
    vmId: 'web',
    folder,
    stateFolder,
    options: hostOptions,
    path,
    open: (): Promise<HypervisorHost> => openHost(hostOptions),
    vm() {
      const vm = running.get('web');
      if (vm === undefined) throw new Error('No VM web was started');
      return vm;
    },
    isOn: async () => (await markOf(self.vm().mark.pid)) !== undefined,
    async create(name, size, ...more) {
      const format = name.endsWith('.qcow2') ? 'qcow2' : 'raw';
      await runTool('qemu-img', ['create', '-q', '-f', format, ...more, path(name), size], { milliseconds });
      return { diskId: name.slice(0, name.lastIndexOf('.')), path: path(name), format };
    },
    async io(disk, ...commands) {
      const args = ['-f', disk.format, ...commands.flatMap((command) => ['-c', command]), disk.path];
      return (await runTool('qemu-io', args, { milliseconds })).stdout;
    },
    async start(vmId, disks, ...more) {
      const vm = await startSourceVm({ vmId, folder, workFolder: root, disks, arguments: more });
      running.set(vmId, vm);
      return vm;
    },
    contents: (diskId) => self.vm().frozen(diskId),
    write: (diskId, offset, data) => self.vm().write(diskId, offset, data),
    async killProxy(proxyId) {
      const part = join(stateFolder, 'proxies', proxyId);
      for (const { pid } of await processesNaming('qemu-system-x86_64', part)) process.kill(pid, 'SIGKILL');
      await eventually(`The end of proxy ${proxyId}`, milliseconds, async () =>
        (await processesNaming('qemu-system-x86_64', part)).length === 0 ? true : undefined,
      );
    },
    async leftovers() {
      const found: string[] = [];
      for (const where of new Set([stateFolder, scratchFolder])) {
        const files = await readdir(where, { recursive: true, withFileTypes: true }).catch(() => []);
        for (const file of files) if (!file.isDirectory()) found.push(join(file.parentPath, file.name));
      }
      for (const { pid } of await mine()) found.push(`process ${pid}`);
      for (const vm of running.values()) found.push(...(await leftIn(vm)));
      return [...new Set(found)].sort();
    },
    async remove() {
      for (const vm of running.values()) await vm.kill();
      for (const mark of await mine()) await endProcess('a process of a test', mark);
      await rm(root, { recursive: true, force: true });
    },
  };
  return self;
}

/** Nodes, exports and bitmaps of ours in a VM; a VM that is gone has none. */
async function leftIn(vm: SourceVm): Promise<string[]> {
  try {
    return await vm.tell(async (qmp) => {
      const nodes = await qmp.execute('query-named-block-nodes', { reply: Nodes });
      const exports = await qmp.execute('query-block-exports', { reply: Exports });
      const bitmaps = nodes.flatMap((node) => node['dirty-bitmaps'].map(({ name }) => name));
      return [
        ...nodes.map((node) => node['node-name']).filter((name) => name.startsWith('bh-')),
        ...exports.map(({ id }) => `export ${id}`),
        ...bitmaps.filter((name) => name.startsWith('backhaul-')).map((name) => `bitmap ${name}`),
      ].map((what) => `${what} in VM ${vm.vmId}`);
    });
  } catch (error) {
    if (/closed the QMP|cannot be reached/.test(describeError(error))) return [];
    throw error;
  }
}

/** A folder of images for tests, with the tools of a guest: every trace of it is gone after `remove`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { eventually } from '@backhaul/kernel';
import type { HypervisorHost } from '../host.ts';
import { openHost } from '../open-host.ts';
import { endProcess, processesNaming } from '../processes.ts';
import type { RecoveryFixture } from '../recovery-contract.ts';
import { runTool } from '../tool.ts';

export interface ImageFolder extends RecoveryFixture {
  readonly folder: string;
  readonly stateFolder: string;
  path(name: string): string;
  /** Makes an image; `name` may be `vm/disk.qcow2`. */
  create(name: string, size: string, ...options: string[]): Promise<string>;
  /** Runs `qemu-img` on one of the images. */
  img(...args: string[]): Promise<string>;
  /** Runs `qemu-io` commands on an image, as a guest that starts, writes and stops. */
  guest(name: string, ...commands: string[]): Promise<string>;
  /** Opens an image for writing and keeps it open, as a running VM does. */
  runVm(name: string, ...commands: string[]): Promise<RunningVm>;
  bitmapNames(name: string): Promise<string[]>;
  /** Ends every storage daemon whose sockets are below this part of the state folder, as a crash would. */
  kill(part: string): Promise<void>;
}

export interface RunningVm {
  /** A clean shut-down. */
  stop(): Promise<void>;
  crash(): Promise<void>;
}

const DAEMON = 'qemu-storage-daemon';
const milliseconds = 30_000;
const formatOf = (name: string): string => (name.endsWith('.qcow2') ? 'qcow2' : 'raw');

export async function makeImageFolder(options: { hostId?: string } = {}): Promise<ImageFolder> {
  const root = await mkdtemp(join(tmpdir(), 'bh-'));
  const folder = join(root, 'images');
  const stateDirectory = join(root, 'state');
  const hostId = options.hostId ?? 'h1';
  const stateFolder = join(stateDirectory, hostId);
  await mkdir(folder);
  const running = new Set<RunningVm>();
  const path = (name: string) => join(folder, name);

  const img = async (...args: string[]) => (await runTool('qemu-img', args, { milliseconds })).stdout;
  const imageOf = async (diskId: string, vmId = 'web'): Promise<string> => {
    const name = (await readdir(path(vmId))).find((one) => one.startsWith(`${diskId}.`));
    return `${vmId}/${name}`;
  };
  const kill = async (part: string) => {
    for (const { pid } of await processesNaming(DAEMON, join(stateFolder, part)))
      process.kill(pid, 'SIGKILL');
    await eventually(`The end of ${part}`, milliseconds, async () =>
      (await processesNaming(DAEMON, join(stateFolder, part))).length === 0 ? true : undefined,
    );
  };

  const self: ImageFolder = {
    vmId: 'web',
    folder,
    stateFolder,
    path,
    img,
    kill,
    open: (): Promise<HypervisorHost> =>
      openHost({ hostId, kind: 'directory', address: folder, stateDirectory, lockPatienceMilliseconds: 300 }),
    async create(name, size, ...more) {
      await mkdir(dirname(path(name)), { recursive: true });
      await img('create', '-q', '-f', formatOf(name), ...more, path(name), size);
      return path(name);
    },
    async guest(name, ...commands) {
      const args = ['-f', formatOf(name), ...commands.flatMap((command) => ['-c', command]), path(name)];
      return (await runTool('qemu-io', args, { milliseconds })).stdout;
    },
    async runVm(name, ...commands) {
      const child = spawn('qemu-io', ['-f', formatOf(name), path(name)], {
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      const ended = once(child, 'exit');
      let said = '';
      child.stdout.on('data', (text) => {
        said += text;
      });
      // One at a time: it takes one command per wake-up. Once it has answered the first, it has the image open.
      for (const [index, command] of ['read 0 512', ...commands].entries()) {
        child.stdin.write(`${command}\n`);
        await eventually(`"${command}" of a VM on ${name}`, milliseconds, () =>
          said.split(' ops;').length > index + 1 ? true : undefined,
        );
      }
      const end = async (how: () => void) => {
        running.delete(vm);
        how();
        await ended;
      };
      const vm: RunningVm = {
        stop: () => end(() => child.stdin.end()),
        crash: () => end(() => child.kill('SIGKILL')),
      };
      running.add(vm);
      return vm;
    },
    async bitmapNames(name) {
      const info = JSON.parse(await img('info', '--output=json', path(name)));
      return (info['format-specific']?.data?.bitmaps ?? []).map((one: { name: string }) => one.name);
    },
    contents: (diskId) => self.contentsOf('web', diskId),
    async contentsOf(vmId, diskId) {
      const name = await imageOf(diskId, vmId);
      const copy = join(root, 'copy.raw');
      await img('convert', '-f', formatOf(name), '-O', 'raw', path(name), copy);
      const contents = await readFile(copy);
      await rm(copy);
      return contents;
    },
    async write(diskId, offset, data) {
      const source = join(root, 'data');
      await writeFile(source, data);
      await self.guest(await imageOf(diskId), `write -s ${source} ${offset} ${data.length}`);
      await rm(source);
    },
    startsVms: false,
    async turnOn() {
      const [name] = await readdir(path('web'));
      // Written to, or a raw image's lock would tell nobody of the guest.
      await self.runVm(`web/${name}`, 'write -P 7 0 512');
    },
    async turnOff() {
      for (const vm of running) await vm.stop();
    },
    allocatedBytes: async (vmId, diskId) => (await stat(path(await imageOf(diskId, vmId)))).blocks * 512,
    killTargetServer: (targetId) => kill(`targets/${targetId}/`),
    killProxy: (proxyId) => kill(`proxies/${proxyId}/`),
    async leftovers() {
      const files = await readdir(stateFolder, { recursive: true, withFileTypes: true }).catch(() => []);
      const daemons = await processesNaming(DAEMON, stateFolder);
      const bitmaps: string[] = [];
      const hidden: string[] = [];
      for (const vm of await readdir(folder, { withFileTypes: true })) {
        if (!vm.isDirectory()) continue;
        if (vm.name.startsWith('.')) {
          hidden.push(path(vm.name), ...(await readdir(path(vm.name), { recursive: true })));
          continue;
        }
        for (const file of await readdir(path(vm.name))) {
          if (!existsSync(path(`${vm.name}/${file}`))) continue;
          const names = await self.bitmapNames(`${vm.name}/${file}`);
          bitmaps.push(...names.map((name) => `bitmap ${name} of ${vm.name}/${file}`));
        }
      }
      return [
        ...files.filter((file) => !file.isDirectory()).map((file) => join(file.parentPath, file.name)),
        ...daemons.map(({ pid }) => `process ${pid}`),
        ...bitmaps,
        ...hidden,
      ].sort();
    },
    async remove() {
      for (const vm of running) await vm.crash();
      for (const mark of await processesNaming(DAEMON, stateFolder)) await endProcess('a test daemon', mark);
      await rm(root, { recursive: true, force: true });
    },
  };
  return self;
}

/** Proxy VMs for tests, with frozen disks to attach: servers that count what is read of them. Nothing is left after `remove`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildAppliance } from '@backhaul/appliance';
import type { ProxyNetwork } from '@backhaul/contracts';
import { eventually } from '@backhaul/kernel';
import { endProcess, type ProcessMark, processesNaming } from '../../../processes.ts';
import { QEMU } from '../../qemu-process.ts';
import { askAppliance } from '../control-channel.ts';
import { type DiskSource, openQemuProxies, type QemuProxies } from '../proxies.ts';
import { controlSocketOf } from '../proxy-vm.ts';

export interface TestSource extends DiskSource {
  readonly contents: Buffer;
  /** Bytes asked of it since it was started. */
  bytesRead(): Promise<number>;
  kill(): Promise<void>;
}

export interface ProxyLab {
  readonly stateDirectory: string;
  open(options?: { applianceDirectory?: string; network?: ProxyNetwork }): Promise<QemuProxies>;
  /** `readSeconds`: how long each read of it takes. */
  makeSource(sizeBytes: number, readSeconds?: number): Promise<TestSource>;
  /** Ends the NBD server of a port inside the guest, by SIGKILL. */
  killServer(proxyId: string, port: number): Promise<void>;
  processes(proxyId: string): Promise<ProcessMark[]>;
  leftovers(): Promise<string[]>;
  remove(): Promise<void>;
}

const milliseconds = 60_000;

export async function makeProxyLab(): Promise<ProxyLab> {
  const root = await mkdtemp(join(tmpdir(), 'bp-'));
  const stateDirectory = join(root, 's');
  const folder = join(stateDirectory, 'h1', 'proxies');
  const appliance = await buildAppliance();
  const sources: ChildProcess[] = [];
  const processes = (proxyId: string) => processesNaming(QEMU, join(folder, proxyId, 'qmp'));

  return {
    stateDirectory,
    processes,
    open: async (options = {}) =>
      openQemuProxies({ hostId: 'h1', stateDirectory, applianceDirectory: appliance.directory, ...options }),

    async makeSource(sizeBytes, readSeconds = 0) {
      const name = `source-${sources.length}`;
      const path = (suffix: string) => join(root, `${name}.${suffix}`);
      const contents = randomBytes(sizeBytes);
      await writeFile(path('raw'), contents);
      const args = ['--foreground', '--readonly', '--unix', path('sock'), '--filter=log', '--filter=delay'];
      const settings = [`logfile=${path('log')}`, `rdelay=${readSeconds}`];
      const child = spawn('nbdkit', [...args, 'file', path('raw'), ...settings], { stdio: 'ignore' });
      sources.push(child);
      await eventually(`The start of ${name}`, milliseconds, () => accepts(path('sock')));
      return {
        socketPath: path('sock'),
        exportName: 'frozen',
        sizeBytes,
        access: 'read-only',
        contents,
        async bytesRead() {
          const log = await readFile(path('log'), 'utf8');
          const counts = [...log.matchAll(/ Read id=\d+ offset=0x[0-9a-f]+ count=0x([0-9a-f]+)/g)];
          return counts.reduce((sum, [, count]) => sum + Number.parseInt(count ?? '0', 16), 0);
        },
        kill: () => end(child),
      };
    },

    async killServer(proxyId, port) {
      const path = controlSocketOf({ proxyId, folder: join(folder, proxyId), ports: 1, address: null });
      const options = { path, target: proxyId, milliseconds, endServerOfPort: port };
      await askAppliance(options, 'The end of a server', ({ errors }) =>
        errors.some((one) => one.includes('killed')),
      );
    },

    async leftovers() {
      const files = await readdir(join(stateDirectory, 'h1'), { recursive: true }).catch(() => []);
      const running = await processesNaming(QEMU, stateDirectory);
      return [...files.filter((file) => file !== 'proxies'), ...running.map(({ pid }) => `process ${pid}`)];
    },

    async remove() {
      for (const mark of await processesNaming(QEMU, stateDirectory)) await endProcess('a test proxy', mark);
      for (const child of sources) await end(child);
      await rm(root, { recursive: true, force: true });
    },
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

async function accepts(path: string): Promise<true | undefined> {
  if (!existsSync(path)) return undefined;
  const socket = createConnection({ path });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

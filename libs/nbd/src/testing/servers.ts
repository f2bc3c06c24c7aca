/**
 * Real NBD servers for tests, each in a folder of its own on a Unix socket. `await using` ends them, by their own process
 * id, and removes the folder, also when the test fails.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, Fault } from '@backhaul/kernel';
import { onTestFinished } from 'vitest';

export const run = promisify(execFile);

export interface Folder extends AsyncDisposable {
  readonly path: string;
}

export async function temporaryFolder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), 'backhaul-nbd-'));
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

export interface TestServer extends AsyncDisposable {
  /** Of the export named, or of the one without a name. */
  uri(exportName?: string): string;
  readonly child: ChildProcess;
  /** Sends a signal; resolves at once, for SIGKILL when the process is gone. */
  signal(signal: NodeJS.Signals): Promise<void>;
}

/** `command` and its arguments, which may use `{socket}`, `{pidfile}` and `{folder}`. Ready when its pid file is there. */
export async function startServer(command: string, args: readonly string[]): Promise<TestServer> {
  const folder = await temporaryFolder();
  const socket = join(folder.path, 'nbd.sock');
  const pidfile = join(folder.path, 'pid');
  const filled = args.map((arg) =>
    arg.replaceAll('{socket}', socket).replaceAll('{pidfile}', pidfile).replaceAll('{folder}', folder.path),
  );
  const child = spawn(command, filled, { stdio: ['ignore', 'ignore', 'pipe'] });
  let output = '';
  child.stderr?.on('data', (data) => {
    output = (output + String(data)).slice(-4000);
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', (error) => {
      output += error.message;
      resolve();
    });
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exited;
  };
  try {
    await eventually(`${command} being ready`, 10_000, () => {
      if (child.exitCode !== null || child.pid === undefined)
        throw new Fault(`${command} ended before it was ready: ${output}`);
      return existsSync(pidfile) ? true : undefined;
    });
  } catch (error) {
    if (child.pid !== undefined) await end('SIGKILL');
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  const dispose = async (): Promise<void> => {
    // A stopped process takes no SIGTERM, and tests have nothing to lose.
    await end('SIGKILL');
    await folder[Symbol.asyncDispose]();
  };
  // A test that hangs never leaves its block: then the end of its time does it.
  onTestFinished(dispose);
  return {
    uri: (exportName = '') => `nbd+unix:///${encodeURIComponent(exportName)}?socket=${socket}`,
    child,
    async signal(signal) {
      if (signal === 'SIGKILL') await end(signal);
      else child.kill(signal);
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** A TCP port of the loopback interface that nobody listens on at the moment of asking. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Serves one image read-only, or as `args` say, under the empty export name. */
export const startQemuNbd = (image: string, format: 'raw' | 'qcow2', args: readonly string[] = ['-r']) =>
  startServer('qemu-nbd', [
    '--persistent',
    '--shared=8',
    `--format=${format}`,
    '--socket={socket}',
    '--pid-file={pidfile}',
    ...args,
    image,
  ]);

/** `args`: filters, plugin and its parameters. */
export const startNbdkit = (...args: readonly string[]) =>
  startServer('nbdkit', ['--foreground', '--unix={socket}', '--pidfile={pidfile}', ...args]);

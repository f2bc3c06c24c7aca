/**
 * A NATS server with JetStream of our own on a free port of the loopback interface. `kill` and `restart` are there for
 * the tests that take it away; `wipe` loses everything it stored.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { eventually, Fault } from '@backhaul/kernel';
import { freePort } from './free-port.ts';

export interface NatsOptions {
  /** The most that one message may be. Without it, what the server has for itself: 1 MiB. */
  readonly maxPayloadBytes?: number;
}

export interface LocalNats {
  readonly url: string;
  readonly pid: number;
  /** SIGKILL: what it had not written to disk is lost. */
  kill(): Promise<void>;
  /** Starts it again on the same port, with what it had stored; with other options than before where they are given. */
  restart(options?: NatsOptions): Promise<void>;
  /** Removes what it stored. Only while it is down. */
  wipe(): Promise<void>;
  /** Ends it; removes what it stored unless it is to stay. */
  stop(options?: { keep?: boolean }): Promise<void>;
}

export async function startNats(
  options: {
    directory: string;
    port?: number;
    /** Asked of every client; without it whoever reaches the port is let in. Letters, digits, `-` and `_`. */
    token?: string;
  } & NatsOptions,
): Promise<LocalNats> {
  const { token } = options;
  let { maxPayloadBytes } = options;
  // Beside its folder, which may be wiped. The token is no argument: those of a process are anybody's to read.
  const configuration = `${options.directory}.conf`;
  const port = options.port ?? (await freePort());
  let child: ChildProcess;
  let exited: Promise<void>;

  const start = async (changes: NatsOptions = {}): Promise<void> => {
    maxPayloadBytes = changes.maxPayloadBytes ?? maxPayloadBytes;
    await mkdir(options.directory, { recursive: true, mode: 0o700 });
    let output = '';
    let ended = false;
    const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', options.directory];
    const lines = [
      ...(token === undefined ? [] : [`authorization { token: "${token}" }`]),
      ...(maxPayloadBytes === undefined ? [] : [`max_payload: ${maxPayloadBytes}`]),
    ];
    if (lines.length > 0) {
      await writeFile(configuration, `${lines.join('\n')}\n`, { mode: 0o600 });
      args.push('-c', configuration);
    }
    child = spawn('nats-server', args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    child.stderr?.on('data', (data) => {
      output = (output + String(data)).slice(-4000);
    });
    exited = new Promise((resolve) => {
      child.once('exit', () => {
        ended = true;
        resolve();
      });
      child.once('error', (error) => {
        output += error.message;
        ended = true;
        resolve();
      });
    });
    await eventually('nats-server accepting connections', 10_000, async () => {
      if (ended)
        throw new Fault(
          `nats-server did not start: ${output.trim()}. Is it installed (Debian: nats-server)?`,
        );
      return (await canConnect(port)) ? true : undefined;
    });
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exited;
  };

  await start();
  return {
    url: `nats://${token === undefined ? '' : `${token}@`}127.0.0.1:${port}`,
    get pid() {
      return child.pid ?? 0;
    },
    kill: () => end('SIGKILL'),
    restart: start,
    wipe: () => rm(options.directory, { recursive: true, force: true }),
    async stop({ keep = false } = {}) {
      await end('SIGTERM');
      await rm(configuration, { force: true });
      if (!keep) await rm(options.directory, { recursive: true, force: true });
    },
  };
}

const canConnect = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

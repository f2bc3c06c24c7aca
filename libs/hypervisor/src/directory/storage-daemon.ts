/**
 * One qemu-storage-daemon: an NBD server on a unix socket, told by QMP what to export. It is started detached, so that
 * it outlives its caller, and is found again by the files beside its sockets. All of them are named after it:
 * `<name>.sock` (NBD), `<name>.qmp`, `<name>.pid.json`, `<name>.log` (what it said).
 */
import { spawn } from 'node:child_process';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually, Fault } from '@backhaul/kernel';
import { endProcess, isRunning, markOf, ProcessMark, processesNaming } from '../processes.ts';
import { QmpClient, withQmp } from '../qmp.ts';
import { readState, writeState } from '../state-file.ts';
import { lastPart } from '../tool.ts';

export interface StorageDaemon {
  /** For people: "port 2 of proxy p1". */
  readonly what: string;
  readonly folder: string;
  readonly name: string;
  /** Clients served at a time; the next one waits in the socket's queue. 0: no limit. */
  readonly connectionsMax: number;
}

const PROGRAM = 'qemu-storage-daemon';
/** sun_path of unix(7) has 108 bytes, the last of which is zero. */
const SOCKET_PATH_BYTES_MAX = 107;

export const nbdSocketOf = (daemon: StorageDaemon): string => join(daemon.folder, `${daemon.name}.sock`);
export const nbdEndpointOf = (daemon: StorageDaemon): string =>
  `nbd+unix:///?socket=${nbdSocketOf(daemon).split('/').map(encodeURIComponent).join('/')}`;
const qmpSocketOf = (daemon: StorageDaemon): string => join(daemon.folder, `${daemon.name}.qmp`);
const pidFileOf = (daemon: StorageDaemon): string => join(daemon.folder, `${daemon.name}.pid.json`);
const logOf = (daemon: StorageDaemon): string => join(daemon.folder, `${daemon.name}.log`);

/** Throws a permanent Fault for a path that no unix socket can have. */
export function requireSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= SOCKET_PATH_BYTES_MAX) return;
  throw new Fault(
    `The socket path ${path} has ${bytes} bytes, and the system allows ${SOCKET_PATH_BYTES_MAX}: choose a shorter state directory or host id`,
    { permanent: true, code: 'SocketPathTooLong' },
  );
}

/** The command line; QEMU reads commas in its options as separators unless they are doubled. */
export function daemonArguments(daemon: StorageDaemon): string[] {
  const escaped = (path: string) => path.replaceAll(',', ',,');
  return [
    // The NBD server first: when the monitor greets, everything is up.
    '--nbd-server',
    `addr.type=unix,addr.path=${escaped(nbdSocketOf(daemon))},max-connections=${daemon.connectionsMax}`,
    '--chardev',
    `socket,id=qmp,path=${escaped(qmpSocketOf(daemon))},server=on,wait=off`,
    '--monitor',
    'chardev=qmp',
  ];
}

/**
 * Brings the daemon up, or finds it running. Answers when its monitor does. A daemon whose caller died before it could
 * write the pid file is ended first. Throws a Fault, with what the daemon said, when it does not come up in time.
 */
export async function startDaemon(daemon: StorageDaemon, milliseconds: number): Promise<void> {
  requireSocketPath(nbdSocketOf(daemon));
  if (await isDaemonRunning(daemon)) return;
  await endDaemon(daemon);
  await mkdir(daemon.folder, { recursive: true });
  const log = await open(logOf(daemon), 'w');
  try {
    const child = spawn(PROGRAM, daemonArguments(daemon), {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    const failed = new Promise<never>((_, reject) => child.once('error', reject));
    failed.catch(() => undefined);
    await Promise.race([failed, new Promise((resolve) => child.once('spawn', resolve))]);
    child.unref();
    const mark = child.pid === undefined ? undefined : await markOf(child.pid);
    if (mark !== undefined) await writeState(pidFileOf(daemon), mark);
    await eventually(`The start of ${daemon.what}`, milliseconds, async () => {
      if (mark === undefined || !(await isRunning(mark))) throw new Fault(await lastWordsOf(daemon));
      return await isAnswering(daemon, Math.min(milliseconds, GREETING_MILLISECONDS));
    });
  } catch (cause) {
    await endDaemon(daemon);
    throw new Fault(`Starting ${daemon.what} failed`, { cause, code: 'DaemonNotStarted' });
  } finally {
    await log.close();
  }
}

/**
 * Who connects while the monitor is being set up may never be greeted, and the next one is: seen on a busy machine, where one connection
 * had waited for all of the time that there was.
 */
const GREETING_MILLISECONDS = 3_000;

async function isAnswering(daemon: StorageDaemon, milliseconds: number): Promise<true | undefined> {
  try {
    const qmp = await QmpClient.connect({
      path: qmpSocketOf(daemon),
      target: daemon.what,
      connectMilliseconds: milliseconds,
    });
    qmp.close();
    return true;
  } catch {
    return undefined;
  }
}

export async function isDaemonRunning(daemon: StorageDaemon): Promise<boolean> {
  const mark = await readState(pidFileOf(daemon), ProcessMark);
  return mark !== undefined && (await isRunning(mark));
}

/** Why a daemon that should run does not, as far as it can be told. */
export async function lastWordsOf(daemon: StorageDaemon): Promise<string> {
  const said = (await readFile(logOf(daemon), 'utf8').catch(() => '')).trim();
  return `the process of ${daemon.what} is gone${said === '' ? ', and it left no message' : `; it said: ${lastPart(said, 500)}`}`;
}

/** Ends the daemon and sees it gone, also one whose pid file was never written. None is success. Its files stay. */
export async function endDaemon(daemon: StorageDaemon): Promise<void> {
  const mark = await readState(pidFileOf(daemon), ProcessMark);
  if (mark !== undefined) await endProcess(daemon.what, mark);
  for (const stray of await processesNaming(PROGRAM, qmpSocketOf(daemon))) {
    await endProcess(daemon.what, stray);
  }
}

/** Talks to the daemon for the length of `work`. Throws a Fault with the daemon's last words when it is gone. */
export async function tellDaemon<T>(daemon: StorageDaemon, work: (qmp: QmpClient) => Promise<T>): Promise<T> {
  if (!(await isDaemonRunning(daemon))) {
    throw new Fault(`Nobody answers: ${await lastWordsOf(daemon)}`, { code: 'DaemonGone' });
  }
  return await withQmp({ path: qmpSocketOf(daemon), target: daemon.what }, work);
}

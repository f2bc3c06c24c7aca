/**
 * The folder of a qemu host: every running VM has a QMP socket of its own for Backhaul in it, `<vmId>.qmp`, and, where it
 * has a guest agent, the agent's channel, `<vmId>.qga`; the socket of the VM's NBD server, `<vmId>.nbd`, is put beside them. VMs that Backhaul defined have their disks below, in `vms/` (defined-vms.ts). QEMU serves one client of a monitor at a time, so whoever talks to a
 * VM keeps others out, those of other processes too: conversations are short, and steps that belong together are one.
 */
import { readdir, stat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { Name } from '@backhaul/contracts';
import { Fault, listed, ok, type Refusal, type Result, refuse } from '@backhaul/kernel';
import { type QmpClient, withQmp } from '../qmp.ts';
import { DefinedVms } from './defined-vms.ts';

const MONITOR = '.qmp';
const AGENT = '.qga';
const NBD = '.nbd';
/** As long as somebody else may hold the monitor: a freeze, or an export that is being taken down. */
const CONNECT_MILLISECONDS = 30_000;

export class VmFolder {
  readonly path: string;
  readonly #hostId: string;

  constructor(path: string, hostId: string) {
    this.path = path;
    this.#hostId = hostId;
  }

  monitorOf(vmId: string): string {
    return join(this.path, `${vmId}${MONITOR}`);
  }

  /** Where the VM's own NBD server listens, once it does. */
  nbdSocketOf(vmId: string): string {
    return join(this.path, `${vmId}${NBD}`);
  }

  agentSocketOf(vmId: string): string {
    return join(this.path, `${vmId}${AGENT}`);
  }

  /** The agent's channel, or null where the VM has none. */
  async agentOf(vmId: string): Promise<string | null> {
    const path = this.agentSocketOf(vmId);
    return (await isSocket(path)) ? path : null;
  }

  nameOf(vmId: string): string {
    return `VM ${vmId} of host ${this.#hostId}`;
  }

  /** VMs that run: a socket that a QEMU left when it died is none. */
  async list(): Promise<string[]> {
    const names = (await readdir(this.path))
      .filter((name) => name.endsWith(MONITOR))
      .map((name) => name.slice(0, -MONITOR.length))
      .filter((name) => Name.safeParse(name).success);
    const running = await Promise.all(names.map((vmId) => this.isRunning(vmId)));
    return names.filter((_, index) => running[index]).sort();
  }

  async isRunning(vmId: string): Promise<boolean> {
    return Name.safeParse(vmId).success && (await isListening(this.monitorOf(vmId)));
  }

  /** Whether a VM of that name runs, or ran and left its socket. */
  async hasMonitor(vmId: string): Promise<boolean> {
    return await isSocket(this.monitorOf(vmId));
  }

  /** Ok when the VM runs; else a refusal that says what there is. */
  async require(vmId: string): Promise<Result<null>> {
    if (await this.isRunning(vmId)) return ok(null);
    return refuse(await this.#unknown(vmId));
  }

  async tell<T>(vmId: string, work: (qmp: QmpClient) => Promise<T>): Promise<T> {
    const options = {
      path: this.monitorOf(vmId),
      target: this.nameOf(vmId),
      connectMilliseconds: CONNECT_MILLISECONDS,
    };
    return await withQmp(options, work);
  }

  async #unknown(vmId: string): Promise<Refusal> {
    if (Name.safeParse(vmId).success && (await this.hasMonitor(vmId))) {
      return {
        code: 'VmNotRunning',
        message: `VM ${vmId} does not run: nobody listens at ${this.monitorOf(vmId)}.`,
        wayOut: 'Start it, or back its images up through a host of kind directory.',
      };
    }
    const defined = new DefinedVms(this.path);
    if ((await defined.read(vmId)) !== undefined) {
      return {
        code: 'VmNotRunning',
        message: `VM ${vmId} is defined in ${defined.path}, and it does not run.`,
        wayOut: `Start it, or back it up at rest through a host of kind directory with the folder ${defined.path}.`,
      };
    }
    const there = await this.list();
    const shown = listed(there, 20);
    return {
      code: 'VmUnknown',
      message: `There is no VM ${vmId} in ${this.path}. ${there.length === 0 ? 'No VM is there.' : `There are: ${shown}.`}`,
    };
  }
}

/** Throws a permanent Fault when the folder is not there. */
export async function requireFolder(hostId: string, path: string): Promise<void> {
  if ((await stat(path).catch(() => undefined))?.isDirectory() ?? false) return;
  throw new Fault(`Host ${hostId} has no folder of QMP sockets at ${path}`, {
    permanent: true,
    code: 'FolderMissing',
  });
}

const isSocket = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.isSocket() ?? false;

/** What connect(2) says where nobody listens: any other error (a full queue, no more files, no permission) does not say that. */
const NOBODY = ['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'ENOTSOCK'];

/** Whether a process listens at a unix socket, as far as we can tell: whoever goes on to talk to it hears what is in the way. */
export async function isListening(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = createConnection({ path });
    const answer = (listening: boolean) => {
      socket.destroy();
      resolve(listening);
    };
    socket.once('connect', () => answer(true));
    socket.once('error', (error: NodeJS.ErrnoException) => answer(!NOBODY.includes(error.code ?? '')));
  });
}

/**
 * Proxies of a directory host: a proxy is one storage daemon per port, each with room for one client, so that a port
 * never serves two. A disk is hot-added to all of them over QMP, as it would be to a proxy VM (docs/adr/0003).
 */
import { healthReadings, type Port } from '@backhaul/contracts';
import { describeError, Fault } from '@backhaul/kernel';
import { z } from 'zod';
import type { Observation } from '../host.ts';
import { NotedThings } from '../noted-things.ts';
import type { QmpClient } from '../qmp.ts';
import { closeDisk, type DiskKey, exportNameOf, exportNames } from './block-graph.ts';
import {
  endDaemon,
  isDaemonRunning,
  lastWordsOf,
  nbdEndpointOf,
  type StorageDaemon,
  startDaemon,
  tellDaemon,
} from './storage-daemon.ts';

/** Written before the first daemon starts: from then on there is something to end. */
const ProxyState = z.object({ schema: z.literal(1), proxyId: z.string(), ports: z.int().positive() });

const PORTS_MAX = 64;
const DETACH_MILLISECONDS = 30_000;

/** How the daemon of a port comes to serve a disk: from its image, or from another server. */
export interface PortDisk extends DiskKey {
  /** Whether what it serves under the disk's name is this, and can go on being served. */
  isServed(qmp: QmpClient): Promise<boolean>;
  serve(qmp: QmpClient): Promise<void>;
}

type ObservedProxy = Observation['proxies'][number];

export class Proxies {
  readonly #notes: NotedThings<typeof ProxyState>;

  constructor(folder: string) {
    this.#notes = new NotedThings(folder, 'proxy', ProxyState, ({ proxyId }) => proxyId);
  }

  /** Starts what does not run of it. When it cannot be brought up whole, nothing of it stays. */
  async activate(proxyId: string, ports: number, milliseconds: number): Promise<{ ports: Port[] }> {
    if (!Number.isInteger(ports) || ports < 1 || ports > PORTS_MAX) {
      throw new Fault(`Proxy ${proxyId} cannot have ${ports} ports: 1 to ${PORTS_MAX} are possible`, {
        permanent: true,
        code: 'PortsUnusable',
      });
    }
    const known = await this.#notes.read(proxyId);
    if (known !== undefined && known.ports !== ports) {
      throw new Fault(`Proxy ${proxyId} is there with ${known.ports} ports, and ${ports} were asked for`, {
        permanent: true,
        code: 'ProxyDiffers',
      });
    }
    await this.#notes.write({ schema: 1, proxyId, ports });
    const daemons = this.#daemons(proxyId, ports);
    const started = await Promise.allSettled(daemons.map((daemon) => startDaemon(daemon, milliseconds)));
    const failure = started.find((one) => one.status === 'rejected');
    if (failure !== undefined) {
      await this.deactivate(proxyId);
      throw new Fault(`Activating proxy ${proxyId} failed`, {
        cause: failure.reason,
        code: 'ProxyNotActivated',
      });
    }
    return { ports: daemons.map((daemon, port) => ({ port, endpoint: nbdEndpointOf(daemon) })) };
  }

  /** Serves the disk at every port. A port that serves it already is left alone. */
  async attach(proxyId: string, disk: PortDisk): Promise<string> {
    const name = exportNameOf(disk);
    await this.#atEveryPort(`Attaching disk ${name} to proxy ${proxyId} failed`, proxyId, async (daemon) => {
      await tellDaemon(daemon, async (qmp) => {
        if (await disk.isServed(qmp)) return;
        await closeDisk(qmp, disk, DETACH_MILLISECONDS);
        await disk.serve(qmp);
      });
    });
    return name;
  }

  /** Takes the disk from every port, also from clients that still use it. No such proxy, no such disk: success. */
  async detach(proxyId: string, disk: DiskKey): Promise<void> {
    if ((await this.#notes.read(proxyId)) === undefined) return;
    const failure = `Detaching disk ${exportNameOf(disk)} from proxy ${proxyId} failed`;
    await this.#atEveryPort(failure, proxyId, async (daemon) => {
      // A daemon that is gone has let go of everything.
      if (!(await isDaemonRunning(daemon))) return;
      await tellDaemon(daemon, async (qmp) => await closeDisk(qmp, disk, DETACH_MILLISECONDS));
    });
  }

  async deactivate(proxyId: string): Promise<void> {
    const ports = (await this.#notes.read(proxyId))?.ports ?? 0;
    await Promise.all(this.#daemons(proxyId, ports).map((daemon) => endDaemon(daemon)));
    await this.#notes.forget(proxyId);
  }

  /** Every proxy that there is, alive or not. */
  async ids(): Promise<string[]> {
    return await this.#notes.ids();
  }

  async observe(): Promise<ObservedProxy[]> {
    return await Promise.all((await this.ids()).map((proxyId) => this.#observe(proxyId)));
  }

  async #observe(proxyId: string): Promise<ObservedProxy> {
    const notAlive = (detail: string, state: 'gone' | 'silent' = 'gone'): ObservedProxy => ({
      proxyId,
      state,
      detail,
      attachments: [],
      readings: [],
    });
    try {
      const state = await this.#notes.read(proxyId);
      if (state === undefined) return notAlive('its activation did not get far enough to leave a state');
      const daemons = this.#daemons(proxyId, state.ports);
      const begun = performance.now();
      const served = await Promise.all(daemons.map(servedAt));
      const milliseconds = performance.now() - begun;
      const gone = served.filter((port) => typeof port === 'string');
      if (gone.length > 0) return notAlive(gone.join('; '));
      const everywhere = served.map((port) => new Set(port)).reduce((a, b) => a.intersection(b));
      const somewhere = new Set(served.flat());
      const partly = [...somewhere.difference(everywhere)];
      return {
        proxyId,
        state: 'alive',
        detail: partly.length === 0 ? '' : `attached at some ports only: ${partly.join(', ')}`,
        attachments: [...everywhere].sort().map(attachmentOf),
        // All that can honestly be said: its daemons share memory and processors with everything else here.
        readings: [{ ...healthReadings.answer, value: Math.round(milliseconds) }],
      };
    } catch (error) {
      return notAlive(describeError(error), 'silent');
    }
  }

  async #atEveryPort(
    failure: string,
    proxyId: string,
    work: (daemon: StorageDaemon) => Promise<void>,
  ): Promise<void> {
    const state = await this.#notes.read(proxyId);
    if (state === undefined) throw new Fault(`${failure}: there is no such proxy`, { code: 'ProxyUnknown' });
    const done = await Promise.allSettled(this.#daemons(proxyId, state.ports).map(work));
    const failed = done.find((one) => one.status === 'rejected');
    if (failed === undefined) return;
    const code = failed.reason instanceof Fault ? failed.reason.code : undefined;
    throw new Fault(failure, { cause: failed.reason, ...(code === undefined ? {} : { code }) });
  }

  #daemons(proxyId: string, ports: number): StorageDaemon[] {
    return Array.from({ length: ports }, (_, port) => ({
      what: `port ${port} of proxy ${proxyId}`,
      folder: this.#notes.folderOf(proxyId),
      name: `port-${port}`,
      connectionsMax: 1,
    }));
  }
}

/** The exports of a port, or why it has none. */
async function servedAt(daemon: StorageDaemon): Promise<string[] | string> {
  if (!(await isDaemonRunning(daemon))) return await lastWordsOf(daemon);
  return await tellDaemon(daemon, exportNames);
}

function attachmentOf(exportName: string): { ownerId: string; diskId: string } {
  // Names of disks hold no dot, so the last one is the separator.
  const at = exportName.lastIndexOf('.');
  return { ownerId: exportName.slice(0, at), diskId: exportName.slice(at + 1) };
}

/**
 * Proxies for a backup that a schedule is about to ask for. Pure: the pool as it stands, in; what is kept and what is started for it, out.
 * The rule: the VM gets as many as its last backup was given. Those that are up, or coming up, and have room beside what they are kept
 * for already are kept for it; what is missing is started, as far as the host's limit allows. A VM whose last backup went without
 * proxies gets none. When the backup comes it chooses as any does: these are there, and are shared.
 */
import { derivedId } from '@backhaul/kernel';
import { keptUntil } from './idle-time.ts';
import type { BackupOrder, HostEvent, Pool, PooledProxy } from './pool-state.ts';
import { isSick } from './proxy-health.ts';
import { whyNotShared } from './recycling.ts';
import { sessionsOf } from './standing.ts';

/** VMs of a host whose last backup is remembered: those that had one last. */
const VMS_REMEMBERED_MAX = 10_000;

/** What the last backup of a VM through proxies asked for, and how many it was given. */
export interface LastBackup {
  readonly order: Omit<BackupOrder, 'childJobs' | 'disks'>;
  readonly disks: number;
  readonly given: number;
}

export interface Approaching {
  readonly runId: string;
  readonly scheduleId: string;
  readonly vmId: string;
  readonly dueAt: string;
  readonly at: string;
}

export function prestart(pool: Pool, { runId, scheduleId, vmId, dueAt, at }: Approaching): HostEvent[] {
  const last = pool.lastBackups.get(vmId);
  if (last === undefined || pool.runs.has(runId) || isKeptFor(pool, runId)) return [];
  const { order, given: asked } = last;
  const { hostId } = pool;
  const disks = Math.max(1, Math.ceil(last.disks / asked));
  const kept = [...pool.proxyVms.values()]
    .map((proxy) => ({ proxy, others: stillWaitedFor(pool, proxy, at) }))
    .filter(({ proxy, others }) => canServe(pool, proxy, order.portsPerChildJob, others.length))
    .map(({ proxy, others }) => ({ proxyId: proxy.proxyId, room: roomBeside(proxy, others) }))
    .filter(({ room }) => room >= disks)
    .sort((a, b) => b.room - a.room || (a.proxyId < b.proxyId ? -1 : 1))
    .slice(0, asked);
  const up = [...pool.proxyVms.values()].filter(({ state }) => state !== 'lost').length;
  const limit = Math.min(order.maxProxiesPerHost, pool.policy.maxProxies ?? Number.POSITIVE_INFINITY);
  const missing = Math.max(0, Math.min(asked - kept.length, limit - up));
  const started = Array.from({ length: missing }, (_, index) =>
    proxyIdOf(hostId, pool.proxiesEver + index + 1),
  );
  const found = kept.length + started.length;
  return [
    ...started.map((proxyId): HostEvent => {
      const reason = `started for schedule ${scheduleId}, due at ${dueAt}: the last backup of vm ${vmId} was given ${asked} proxies, and ${kept.length} are there`;
      return {
        type: 'ProxyActivationRequested',
        data: { runId, proxyId, reason, ...sizesOf(hostId, order) },
      };
    }),
    {
      type: 'ProxiesPrestarted',
      data: {
        ...{ hostId, runId, scheduleId, vmId, dueAt, asked, disks },
        proxies: [
          ...kept.map(({ proxyId }) => ({ proxyId, started: false })),
          ...started.map((proxyId) => ({ proxyId, started: true })),
        ],
        shortfall:
          found >= asked
            ? null
            : `${asked} proxies were asked for and ${found} can be had: ${up} of at most ${limit} run on host ${hostId} already, ${kept.length} of them with room for this backup.`,
      },
    },
  ];
}

/** The number of a proxy is in its name, for people. */
export const proxyIdOf = (hostId: string, number: number): string =>
  `p${number}-${derivedId('proxy', hostId, number).slice(0, 8)}`;

const sizesOf = (hostId: string, order: LastBackup['order']) => ({
  hostId,
  ports: order.portsPerProxy,
  maxChildJobs: order.maxChildJobsPerProxy,
  maxDisks: order.maxDisksPerProxy,
  idleSeconds: order.proxyIdleSeconds,
  deadlineSeconds: order.proxyActivationSeconds,
});

type Kept = PooledProxy['keptFor'] extends ReadonlyMap<string, infer Value> ? Value : never;

const stillWaitedFor = (pool: Pool, proxy: PooledProxy, at: string): Kept[] =>
  [...proxy.keptFor.values()].filter(({ dueAt }) => keptUntil(pool, proxy, dueAt) >= Date.parse(at));

function canServe(pool: Pool, proxy: PooledProxy, ports: number, others: number): boolean {
  const { state, portsAsked, suspect } = proxy;
  if ((state !== 'active' && state !== 'requested') || suspect || isSick(proxy)) return false;
  return portsAsked >= ports && whyNotShared(pool, proxy, others) === undefined;
}

const roomBeside = (proxy: PooledProxy, others: readonly Kept[]): number =>
  others.reduce((room, { disks }) => room - disks, sessionsOf(proxy) - proxy.attachments.size);

const isKeptFor = (pool: Pool, runId: string): boolean =>
  [...pool.proxyVms.values()].some(({ keptFor }) => keptFor.has(runId));

/** The fold of what is kept, and for what. */
export function changeKept(pool: Pool, event: HostEvent): void {
  switch (event.type) {
    case 'ProxiesPrestarted': {
      const { runId, dueAt, disks, proxies } = event.data;
      for (const { proxyId } of proxies) pool.proxyVms.get(proxyId)?.keptFor.set(runId, { dueAt, disks });
      break;
    }
    case 'ActivationRequested':
      if (event.data.mode === 'proxy-vm') break;
      keptNoLonger(pool, event.data.runId);
      if (event.data.purpose === 'backup') pool.lastBackups.delete(event.data.vmId);
      break;
    case 'ProxiesChosen': {
      const { runId, proxies } = event.data;
      // It has chosen: what it did not take is free for others.
      keptNoLonger(pool, runId);
      const order = pool.runs.get(runId)?.order;
      if (order?.purpose === 'backup' && proxies.length > 0) remember(pool, order, proxies.length);
      break;
    }
    case 'RunClosed':
      keptNoLonger(pool, event.data.runId);
      break;
  }
}

function keptNoLonger(pool: Pool, runId: string): void {
  for (const { keptFor } of pool.proxyVms.values()) keptFor.delete(runId);
}

function remember(
  { lastBackups }: Pool,
  { childJobs: _, disks, ...order }: BackupOrder,
  given: number,
): void {
  lastBackups.delete(order.vmId);
  lastBackups.set(order.vmId, { order, disks: disks.length, given });
  for (const oldest of lastBackups.keys())
    if (lastBackups.size > VMS_REMEMBERED_MAX) lastBackups.delete(oldest);
}

/**
 * Which proxies serve a run. Pure: the pool as it stands, in; events that record the choice and open the obligations, out.
 * The rule: proxies that are up (or coming up) already and can hold the run's disks are shared, the ones with most free
 * ports first; only what is still missing is started, as far as the host's limit allows. With fewer than asked the run
 * goes on in waves, and says so; with none it waits until one is free.
 */
import type { Event } from '@backhaul/contracts';
import { derivedId } from '@backhaul/kernel';
import {
  attachmentKey,
  type HostEvent,
  type Job,
  type Pool,
  type PooledProxy,
  type Run,
  requestedProxy,
} from './pool.ts';

/** What choices made in the same pass, and not yet in the pool, have taken: room on proxies, and proxies to come. */
export interface Claims {
  readonly disks: Map<string, number>;
  readonly coming: PooledProxy[];
}
export const noClaims = (): Claims => ({ disks: new Map(), coming: [] });

interface Choice {
  readonly proxyId: string;
  readonly shared: boolean;
  readonly why: string;
  /** Disks it still has room for. */
  readonly room: number;
}

/** No events when no proxy can be had for now: the run waits, and is asked about again when the pool has changed. */
export function chooseProxies(pool: Pool, run: Run, claims: Claims = noClaims()): HostEvent[] {
  const asked = Math.max(1, run.order.proxies);
  const running = [...pool.proxyVms.values(), ...claims.coming].filter(({ state }) => state !== 'lost');
  // One that retires still takes its place at the host until it is gone.
  const up = running.length;
  const shared = shareable(running, run, claims).slice(0, asked);
  const allowed = Math.max(0, run.order.maxProxiesPerHost - up);
  const firstNumber = pool.proxiesEver + claims.coming.length + 1;
  const started = toStart(pool, run, firstNumber, Math.min(asked - shared.length, allowed), shared.length);
  const chosen = [...shared, ...started];
  if (chosen.length === 0) return [];

  const shortfall =
    chosen.length >= asked
      ? null
      : `${asked} proxies were asked for and ${chosen.length} can be had: ${up} of at most ${run.order.maxProxiesPerHost} run on host ${pool.hostId} already, ${shared.length} of them with room for this run.`;
  const { hostId, runId } = run.order;
  const activations = started.map(({ proxyId, why }) => activationOf(run, proxyId, why));
  const attachments = attachmentsFor(run, chosen);
  for (const { data } of activations) claims.coming.push(requestedProxy(data));
  for (const { data } of attachments)
    claims.disks.set(data.proxyId, (claims.disks.get(data.proxyId) ?? 0) + 1);
  return [
    {
      type: 'ProxiesChosen',
      data: {
        hostId,
        runId,
        asked: run.order.proxies,
        proxies: chosen.map(({ proxyId, shared, why }) => ({ proxyId, shared, why })),
        shortfall,
      },
    },
    ...activations,
    ...attachments,
  ];
}

/** Proxies that could take part, best first. */
function shareable(running: readonly PooledProxy[], run: Run, claims: Claims): Choice[] {
  return running
    .filter(({ state }) => state !== 'retiring')
    .map((proxy) => ({ proxy, room: roomOf(proxy, claims), free: freePorts(proxy) }))
    .filter(({ proxy, room }) => room > 0 && portsOf(proxy) >= run.order.portsPerChildJob)
    .sort((a, b) => b.free - a.free || (a.proxy.proxyId < b.proxy.proxyId ? -1 : 1))
    .map(({ proxy, room, free }) => ({
      proxyId: proxy.proxyId,
      shared: true,
      why: `${proxy.state === 'active' ? 'active' : 'coming up'} already, ${free} of ${portsOf(proxy)} ports free, room for ${room} more disks`,
      room,
    }));
}

const portsOf = (proxy: PooledProxy): number =>
  proxy.state === 'active' ? proxy.ports.length : proxy.portsAsked;
const roomOf = (proxy: PooledProxy, claims: Claims): number =>
  proxy.maxDisks - proxy.attachments.size - (claims.disks.get(proxy.proxyId) ?? 0);
const freePorts = (proxy: PooledProxy): number => portsOf(proxy) - proxy.holders.size;

function toStart(pool: Pool, run: Run, firstNumber: number, count: number, shared: number): Choice[] {
  return Array.from({ length: Math.max(0, count) }, (_, index) => {
    const number = firstNumber + index;
    return {
      proxyId: `p${number}-${derivedId('proxy', pool.hostId, number).slice(0, 8)}`,
      shared: false,
      why: `started for this run: of the ${run.order.proxies} proxies calculated, ${shared} could be shared`,
      room: run.order.maxDisksPerProxy,
    };
  });
}

const activationOf = (run: Run, proxyId: string, reason: string): Event<'ProxyActivationRequested'> => ({
  type: 'ProxyActivationRequested',
  data: {
    hostId: run.order.hostId,
    runId: run.order.runId,
    proxyId,
    ports: run.order.portsPerProxy,
    maxChildJobs: run.order.maxChildJobsPerProxy,
    maxDisks: run.order.maxDisksPerProxy,
    idleSeconds: run.order.proxyIdleSeconds,
    deadlineSeconds: run.order.proxyActivationSeconds,
    reason,
  },
});

/**
 * The jobs in the plan's order are dealt out in blocks, one block per proxy, and each proxy is given the disks of its
 * block: as few hot-adds as let every proxy work (one disk goes to all, many disks are spread). A disk that finds
 * no room at its block's proxy goes to any that has some.
 */
function attachmentsFor(run: Run, chosen: readonly Choice[]): Event<'DiskAttachRequested'>[] {
  const jobs = [...run.jobs.values()].filter((job) => job.state !== 'done');
  const room = new Map(chosen.map(({ proxyId, room }) => [proxyId, room]));
  const pairs = new Map<string, Event<'DiskAttachRequested'>>();
  const attach = (proxyId: string, diskId: string): boolean => {
    const key = `${proxyId}.${diskId}`;
    if (pairs.has(key)) return true;
    const left = room.get(proxyId) ?? 0;
    if (left === 0) return false;
    room.set(proxyId, left - 1);
    pairs.set(key, attachRequest(run, proxyId, diskId));
    return true;
  };
  const perProxy = jobs.length / chosen.length;
  const overflow: Job[] = [];
  for (const [index, job] of jobs.entries()) {
    const home = chosen[Math.min(chosen.length - 1, Math.floor(index / perProxy))] as Choice;
    if (!attach(home.proxyId, job.diskId)) overflow.push(job);
  }
  // Fewer jobs than proxies: the rest of the proxies help with the disks from the start.
  for (const [index, { proxyId }] of chosen.entries()) {
    const job = jobs[Math.floor(index * perProxy)] ?? jobs[0];
    if (job !== undefined) attach(proxyId, job.diskId);
  }
  for (const job of overflow) chosen.some(({ proxyId }) => attach(proxyId, job.diskId));
  return [...pairs.values()];
}

const attachRequest = (run: Run, proxyId: string, diskId: string): Event<'DiskAttachRequested'> => ({
  type: 'DiskAttachRequested',
  data: { hostId: run.order.hostId, runId: run.order.runId, proxyId, diskId },
});

/**
 * After proxies were lost, or where a disk found no room at first: disks with work left that no proxy of the run holds
 * are attached to one that has room.
 */
export function missingAttachments(pool: Pool, run: Run, claims: Claims = noClaims()): HostEvent[] {
  const events: HostEvent[] = [];
  const proxies = [...(run.chosen?.keys() ?? [])]
    .map((id) => pool.proxies.get(id))
    .filter((proxy): proxy is PooledProxy => proxy?.state === 'active' || proxy?.state === 'requested')
    .map((proxy) => ({ proxy, room: roomOf(proxy, claims) }));
  for (const diskId of run.unfinished.keys()) {
    if (proxies.some(({ proxy }) => proxy.attachments.has(attachmentKey(run.order.runId, diskId)))) continue;
    const target = proxies.filter(({ room }) => room > 0).sort((a, b) => b.room - a.room)[0];
    if (target === undefined) continue;
    target.room -= 1;
    claims.disks.set(target.proxy.proxyId, (claims.disks.get(target.proxy.proxyId) ?? 0) + 1);
    events.push(attachRequest(run, target.proxy.proxyId, diskId));
  }
  return events;
}

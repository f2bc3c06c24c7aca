/**
 * Which proxies serve a run. Pure: the pool as it stands, in; events that record the choice and open the obligations, out.
 * The rule: proxies that are up (or coming up) already and can hold the run's disks are shared, in the order of rank-proxies.ts; only what
 * is still missing is started, as far as the host's limit allows; what cannot hold all that it would be given comes last. With fewer than
 * asked the run goes on in waves, and says so; with none it waits until one is free.
 */
import type { Event } from '@backhaul/contracts';
import { type Choice, candidatesOf } from './candidates.ts';
import { maxProxiesFor } from './limits.ts';
import {
  attachmentKey,
  type HostEvent,
  type Job,
  type Pool,
  type PooledProxy,
  type Run,
  requestedProxy,
  storageOf,
} from './pool.ts';
import { proxyIdOf } from './prestart.ts';
import { isSick } from './proxy-health.ts';
import { type Need, perSecond, type Ranked, rankProxies } from './rank-proxies.ts';
import { whyNotShared } from './recycling.ts';
import { type Claims, noClaims, roomOf } from './standing.ts';
import { speedsFor } from './throughput.ts';

export { type Claims, noClaims } from './standing.ts';

/** No events when no proxy can be had for now: the run waits, and is asked about again when the pool has changed. */
export function chooseProxies(pool: Pool, run: Run, claims: Claims = noClaims()): HostEvent[] {
  const asked = Math.max(1, run.order.proxies);
  const there = [...pool.proxyVms.values(), ...claims.coming];
  // One that retires still takes its place at the host until it is gone.
  const up = there.filter(({ state }) => state !== 'lost').length;
  const need = needOf(run, asked);
  const allowed = Math.max(0, maxProxiesFor(pool, run) - up);
  // Of a full host nothing more is asked: thousands may wait for it.
  if (allowed === 0 && !there.some((proxy) => isToBeHad(pool, proxy, claims))) return [];
  const speedOf = speedsFor(pool.throughput[run.order.purpose], run.order.vmId, storageOf(run));
  const figures = there.map((proxy) => claims.figuresFor(pool, run, proxy));
  const ranking = rankProxies(figures, need, speedOf);

  const shared = ranking.whole.slice(0, asked).map(sharing);
  const firstNumber = pool.proxiesEver + claims.coming.length + 1;
  const started = toStart(pool, run, firstNumber, Math.min(asked - shared.length, allowed), shared.length);
  const partly = ranking.partial.slice(0, asked - shared.length - started.length).map(sharing);
  const chosen = [...shared, ...started, ...partly];
  if (chosen.length === 0) return [];

  const shortfall =
    chosen.length >= asked
      ? null
      : `${asked} proxies were asked for and ${chosen.length} can be had: ${up} of at most ${maxProxiesFor(pool, run)} run on host ${pool.hostId} already, ${shared.length + partly.length} of them with room for this run.`;
  const { hostId, runId } = run.order;
  const activations = started.map(({ proxyId, why }) => activationOf(run, proxyId, why));
  const attachments = attachmentsFor(pool, run, chosen);
  for (const { data } of activations) claims.coming.push(requestedProxy(data));
  for (const { data } of attachments) claims.attach(data.proxyId, runId, need.ports);
  return [
    {
      type: 'ProxiesChosen',
      data: {
        hostId,
        runId,
        asked: run.order.proxies,
        proxies: chosen.map(({ proxyId, shared, why }) => ({ proxyId, shared, why })),
        shortfall,
        ...candidatesOf(pool, run, need, ranking, chosen),
      },
    },
    ...activations,
    ...attachments,
  ];
}

/** Its share of the disks with work left, as far as a proxy of its own could hold that. */
function needOf({ order, unfinished }: Run, asked: number): Need {
  const share = Math.max(1, Math.ceil(unfinished.size / asked));
  return { ports: order.portsPerChildJob, disks: Math.min(share, order.maxDisksPerProxy) };
}

function sharing({ figures, speed }: Ranked): Choice {
  const { proxyId, state, ports, freePorts, room, health } = figures;
  const known = speed?.from === undefined ? '' : `, ${perSecond({ speed })} a port for this VM`;
  return {
    proxyId,
    shared: true,
    why: `${state === 'active' ? 'active' : 'coming up'} already${health === 'good' ? '' : ` (${health})`}, ${freePorts} of ${ports} ports free, room for ${room} more disks${known}`,
    room,
  };
}

function toStart(pool: Pool, run: Run, firstNumber: number, count: number, shared: number): Choice[] {
  return Array.from({ length: Math.max(0, count) }, (_, index) => {
    const number = firstNumber + index;
    return {
      proxyId: proxyIdOf(pool.hostId, number),
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
function attachmentsFor(pool: Pool, run: Run, chosen: readonly Choice[]): Event<'DiskAttachRequested'>[] {
  const jobs = [...run.jobs.values()].filter((job) => job.state !== 'done');
  const room = new Map(chosen.map(({ proxyId, room }) => [proxyId, room]));
  const pairs = new Map<string, Event<'DiskAttachRequested'>>();
  const attach = (proxyId: string, diskId: string): boolean => {
    const key = `${proxyId}.${diskId}`;
    if (pairs.has(key)) return true;
    // It was the run's before, and got well.
    if (pool.proxies.get(proxyId)?.attachments.has(attachmentKey(run.order.runId, diskId))) return true;
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

const takesDisks = (proxy: PooledProxy): boolean =>
  (proxy.state === 'active' || proxy.state === 'requested') && !isSick(proxy);

const isToBeHad = (pool: Pool, proxy: PooledProxy, claims: Claims): boolean =>
  takesDisks(proxy) && roomOf(proxy, claims) > 0 && whyNotShared(pool, proxy) === undefined;

const attachRequest = (run: Run, proxyId: string, diskId: string): Event<'DiskAttachRequested'> => ({
  type: 'DiskAttachRequested',
  data: { hostId: run.order.hostId, runId: run.order.runId, proxyId, diskId },
});

/**
 * After proxies were lost or fell sick, or where a disk found no room at first: disks with work left that no proxy of the run holds
 * are attached to one that has room.
 */
export function missingAttachments(pool: Pool, run: Run, claims: Claims = noClaims()): HostEvent[] {
  const events: HostEvent[] = [];
  const proxies = [...(run.chosen?.keys() ?? [])]
    .map((id) => pool.proxies.get(id))
    .filter((proxy): proxy is PooledProxy => proxy !== undefined && takesDisks(proxy))
    .map((proxy) => ({ proxy, room: roomOf(proxy, claims) }));
  for (const diskId of run.unfinished.keys()) {
    if (proxies.some(({ proxy }) => proxy.attachments.has(attachmentKey(run.order.runId, diskId)))) continue;
    const target = proxies.filter(({ room }) => room > 0).sort((a, b) => b.room - a.room)[0];
    if (target === undefined) continue;
    target.room -= 1;
    claims.attach(target.proxy.proxyId, run.order.runId, run.order.portsPerChildJob);
    events.push(attachRequest(run, target.proxy.proxyId, diskId));
  }
  return events;
}

/**
 * The index of what is to be looked at: kept by the fold, run by run and proxy by proxy, as events touch them. It decides nothing. What it says
 * of a run is what the run's own steps say (run-steps.ts): it only spares asking those that have nothing to say (next-steps.ts).
 */
import type { EventType } from '@backhaul/contracts';
import { awaitsHold, vmMayHold } from './limits.ts';
import { insert, placeOf, remove } from './line.ts';
import {
  attachmentKey,
  type Due,
  directProxyId,
  type HostEvent,
  isInstant,
  jobsAtOnce,
  type LineName,
  type Place,
  type Pool,
  type PooledProxy,
  portsNeeded,
  proxiesOf,
  type Run,
} from './pool-state.ts';
import { isDrained, isSick } from './proxy-health.ts';
import { awaitsProxies, lacksAttachment, stageOf, stepsOf } from './run-steps.ts';

/** After these a proxy is of another use to all the runs that have to do with it. */
const CHANGES_FOR_ALL: readonly EventType[] = [
  'ProxyActivated',
  'ProxyLost',
  'ProxyRetiring',
  'ProxyDeactivated',
  'ProxyHealthChanged',
];

/** To be called when an event has changed the pool. */
export function noteDue(pool: Pool, event: HostEvent): void {
  const { data } = event;
  if ('proxyId' in data && CHANGES_FOR_ALL.includes(event.type)) {
    for (const runId of pool.due.users.get(data.proxyId) ?? []) noteRun(pool, runId);
    if (event.type === 'ProxyDeactivated') pool.due.users.delete(data.proxyId);
  }
  if ('runId' in data && data.runId !== undefined) {
    for (const runId of concernedBy(pool, event, data.runId)) noteRun(pool, runId);
    noteProxy(pool, directProxyId(data.runId));
  }
  if ('proxyId' in data) noteProxy(pool, data.proxyId);
  if (event.type === 'HostPolicyAdopted') for (const runId of pool.runs.keys()) noteRun(pool, runId);
}

/** Where a VM's ports are limited, what one run of it takes is taken from the others. */
function concernedBy(pool: Pool, { type }: HostEvent, runId: string): readonly string[] {
  const vmId = pool.runs.get(runId)?.order.vmId;
  const takes = type === 'PortsLeased' || type === 'PortsReleased';
  if (!takes || vmId === undefined || pool.policy.maxPortsPerVm === null) return [runId];
  return [...(pool.due.runsOfVm.get(vmId) ?? [runId])];
}

function noteRun(pool: Pool, runId: string): void {
  const { due } = pool;
  const run = pool.runs.get(runId);
  leaveLines(pool, runId);
  due.deciding.delete(runId);
  due.lacking.delete(runId);
  if (run === undefined) {
    due.working.delete(runId);
    due.holding.delete(runId);
    return;
  }

  // A paused one makes room for others; its snapshot is open all the same.
  is(due.working, runId, run.hold !== 'none' && !run.paused);
  is(due.holding, runId, ['requested', 'ready', 'lost'].includes(run.hold) && !isInstant(run));
  const { decisions, actions } = stepsOf(pool, run);
  if (decisions.length > 0) due.deciding.add(runId);
  if (lacksAttachment(pool, run)) due.lacking.add(runId);
  for (const proxyId of [...(run.chosen?.keys() ?? []), ...run.at]) join(due.users, proxyId, runId);
  join(due.runsOfVm, run.order.vmId, runId);
  joinLines(pool, run, actions.length > 0);
}

function join(sets: Map<string, Set<string>>, key: string, runId: string): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([runId]));
  else set.add(runId);
}

const is = (set: Set<string>, id: string, belongs: boolean): unknown =>
  belongs ? set.add(id) : set.delete(id);

/** Runs with equal needs of proxies find some together, or none of them does. */
const needOfProxies = ({ order }: Run): string => `${order.portsPerChildJob}/${order.maxProxiesPerHost}`;

function joinLines(pool: Pool, run: Run, acts: boolean): void {
  const { due } = pool;
  const { runId } = run.order;
  const places: { place: Place; line: LineName }[] = [];
  const stand = (name: LineName, held = 0): void => {
    const place = placeOf(run, held);
    insert(lineOf(due, name), place);
    places.push({ place, line: name });
  };
  if (acts) stand({ kind: 'acting', stage: stageOf(run) });
  if (awaitsHold(run) && !isInstant(run)) stand({ kind: 'beginning' });
  // By turn alone: what it still holds at a lost proxy must not put it behind newer ones.
  if (awaitsProxies(pool, run)) stand({ kind: 'choosing', need: needOfProxies(run) });
  if (run.announced && stageOf(run) === 'connecting' && run.waiting.size > 0) {
    for (const proxy of proxiesOf(pool, run)) {
      const { proxyId } = proxy;
      const ports = portsNeeded(run, proxy);
      if (!hasWaitingDiskAt(run, proxy) || !vmMayHold(pool, run, ports)) continue;
      stand({ kind: 'serving', proxyId, need: `${ports}/${jobsAtOnce(run, proxy)}` }, run.leased);
      noteProxy(pool, proxyId);
    }
  }
  if (places.length > 0) due.places.set(runId, places);
}

const hasWaitingDiskAt = (run: Run, { attachments }: PooledProxy): boolean =>
  [...run.waiting.keys()].some(
    (diskId) => attachments.get(attachmentKey(run.order.runId, diskId))?.state === 'attached',
  );

function leaveLines(pool: Pool, runId: string): void {
  const { due } = pool;
  for (const { place, line: name } of due.places.get(runId) ?? []) {
    const line = lineOf(due, name);
    remove(line, place);
    if (line.length > 0) continue;
    if (name.kind === 'choosing') due.choosing.delete(name.need);
    if (name.kind !== 'serving') continue;
    const lines = due.serving.get(name.proxyId);
    lines?.delete(name.need);
    if (lines === undefined || lines.size > 0) continue;
    due.serving.delete(name.proxyId);
    noteProxy(pool, name.proxyId);
  }
  due.places.delete(runId);
}

/** The line of that name; made when it is not there. */
function lineOf(due: Due, name: LineName): Place[] {
  switch (name.kind) {
    case 'beginning':
      return due.beginning;
    case 'acting':
      return due.acting[name.stage];
    case 'choosing':
      return lineIn(due.choosing, name.need);
    case 'serving': {
      const lines = due.serving.get(name.proxyId) ?? new Map<string, Place[]>();
      due.serving.set(name.proxyId, lines);
      return lineIn(lines, name.need);
    }
  }
}

function noteProxy(pool: Pool, proxyId: string): void {
  const { due } = pool;
  const proxy = pool.proxies.get(proxyId);
  const active = proxy?.state === 'active';
  is(
    due.free,
    proxyId,
    active &&
      !proxy.suspect &&
      !isSick(proxy) &&
      proxy.holders.size < proxy.ports.length &&
      due.serving.has(proxyId),
  );
  is(due.suspects, proxyId, active && proxy.suspect);
  const atWork = active && (proxy.attachments.size > 0 || proxy.holders.size > 0);
  is(due.tending, proxyId, proxy?.kind === 'proxy' && (!atWork || isDrained(proxy)));
}

function lineIn(lines: Map<string, Place[]>, need: string): Place[] {
  const line = lines.get(need) ?? [];
  lines.set(need, line);
  return line;
}

/**
 * The index of what is to be looked at: kept by the fold, run by run and proxy by proxy, as events touch them. What it says of a run
 * is what the run's own steps say (run-steps.ts): it only spares asking those that have nothing to say.
 */
import type { EventType } from '@backhaul/contracts';
import {
  attachmentKey,
  directProxyId,
  type HostEvent,
  jobsAtOnce,
  type Place,
  type Pool,
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
    noteRun(pool, data.runId);
    noteProxy(pool, directProxyId(data.runId));
  }
  if ('proxyId' in data) noteProxy(pool, data.proxyId);
}

function noteRun(pool: Pool, runId: string): void {
  const { due } = pool;
  const run = pool.runs.get(runId);
  leaveLines(pool, runId);
  due.deciding.delete(runId);
  due.lacking.delete(runId);
  for (const acting of Object.values(due.acting)) acting.delete(runId);
  if (run === undefined) return;

  const { decisions, actions } = stepsOf(pool, run);
  if (decisions.length > 0) due.deciding.add(runId);
  if (actions.length > 0) due.acting[stageOf(run)].add(runId);
  if (lacksAttachment(pool, run)) due.lacking.add(runId);
  for (const proxyId of [...(run.chosen?.keys() ?? []), ...run.at]) {
    const users = due.users.get(proxyId);
    if (users === undefined) due.users.set(proxyId, new Set([runId]));
    else users.add(runId);
  }
  joinLines(pool, run);
}

/** Runs with equal needs of proxies find some together, or none of them does. */
const needOfProxies = ({ order }: Run): string => `${order.portsPerChildJob}/${order.maxProxiesPerHost}`;

function joinLines(pool: Pool, run: Run): void {
  const { due } = pool;
  const { runId } = run.order;
  const place: Place = { held: run.leased, number: run.number, runId };
  const places: { place: Place; proxyId: string | undefined; need: string }[] = [];
  if (awaitsProxies(pool, run)) {
    const need = needOfProxies(run);
    // By number alone: what it still holds at a lost proxy must not put it behind newer ones.
    const first = { ...place, held: 0 };
    insert(lineIn(due.choosing, need), first);
    places.push({ place: first, proxyId: undefined, need });
  }
  if (run.announced && stageOf(run) === 'connecting' && run.waiting.size > 0) {
    for (const proxy of proxiesOf(pool, run)) {
      const attached = [...run.waiting.keys()].some(
        (diskId) => proxy.attachments.get(attachmentKey(runId, diskId))?.state === 'attached',
      );
      if (!attached) continue;
      const need = `${portsNeeded(run, proxy)}/${jobsAtOnce(run, proxy)}`;
      const lines = due.serving.get(proxy.proxyId) ?? new Map<string, Place[]>();
      due.serving.set(proxy.proxyId, lines);
      insert(lineIn(lines, need), place);
      places.push({ place, proxyId: proxy.proxyId, need });
      noteProxy(pool, proxy.proxyId);
    }
  }
  if (places.length > 0) due.places.set(runId, places);
}

function leaveLines(pool: Pool, runId: string): void {
  const { due } = pool;
  for (const { place, proxyId, need } of due.places.get(runId) ?? []) {
    const lines = proxyId === undefined ? due.choosing : due.serving.get(proxyId);
    const line = lines?.get(need);
    if (lines === undefined || line === undefined) continue;
    remove(line, place);
    if (line.length === 0) lines.delete(need);
    if (proxyId === undefined || lines.size > 0) continue;
    due.serving.delete(proxyId);
    noteProxy(pool, proxyId);
  }
  due.places.delete(runId);
}

function noteProxy(pool: Pool, proxyId: string): void {
  const { due } = pool;
  const proxy = pool.proxies.get(proxyId);
  const is = (set: Set<string>, belongs: boolean): unknown =>
    belongs ? set.add(proxyId) : set.delete(proxyId);
  const active = proxy?.state === 'active';
  is(
    due.free,
    active &&
      !proxy.suspect &&
      !isSick(proxy) &&
      proxy.holders.size < proxy.ports.length &&
      due.serving.has(proxyId),
  );
  is(due.suspects, active && proxy.suspect);
  const atWork = active && (proxy.attachments.size > 0 || proxy.holders.size > 0);
  is(due.tending, proxy?.kind === 'proxy' && (!atWork || isDrained(proxy)));
}

function lineIn(lines: Map<string, Place[]>, need: string): Place[] {
  const line = lines.get(need) ?? [];
  lines.set(need, line);
  return line;
}

/** Who is served first. */
export const byTurn = (a: Place, b: Place): number => a.held - b.held || a.number - b.number;

function insert(line: Place[], place: Place): void {
  line.splice(indexOf(line, place), 0, place);
}

function remove(line: Place[], place: Place): void {
  const index = indexOf(line, place);
  if (line[index]?.runId === place.runId) line.splice(index, 1);
}

/** Where a place stands in an ordered line, or would. */
function indexOf(line: readonly Place[], place: Place): number {
  let [low, high] = [0, line.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byTurn(line[middle] as Place, place) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * How healthy a proxy is, judged from what its host measures of it. Pure. A judgement changes slowly: what is entered at one limit is left
 * at a better one, and only two looks that agree, a while apart, change anything.
 *
 * Only what is the proxy's own can make it sick, because a sick one is ended: its memory, its servers. A slow answer or a high load may
 * as well be its host's, which would then have all its proxies replaced when it can bear it least: they make it degraded.
 */
import {
  type Event,
  type HealthItem,
  type HealthReading,
  type HealthState,
  healthReadings,
  type Observation,
} from '@backhaul/contracts';
import type { HostEvent, Pool, PooledProxy } from './pool-state.ts';

interface Limits {
  readonly enter: number;
  /** Once there it stays until the value is better than this. */
  readonly leave: number;
}

interface Expectation {
  /** Which way a value is bad. */
  readonly bad: 'low' | 'high';
  readonly degraded: Limits;
  readonly sick?: Limits;
}

const { memoryAvailable, serverCrashes, portsFailed, load, answer } = healthReadings;
const EXPECTATIONS: ReadonlyMap<string, Expectation> = new Map<string, Expectation>([
  [memoryAvailable.name, { bad: 'low', degraded: { enter: 15, leave: 20 }, sick: { enter: 5, leave: 10 } }],
  [serverCrashes.name, { bad: 'high', degraded: { enter: 2, leave: 1 }, sick: { enter: 6, leave: 3 } }],
  [portsFailed.name, { bad: 'high', degraded: { enter: 25, leave: 1 }, sick: { enter: 100, leave: 75 } }],
  // A server has four threads (infra/appliance): twice as much is not its own work.
  [load.name, { bad: 'high', degraded: { enter: 8, leave: 6 } }],
  [answer.name, { bad: 'high', degraded: { enter: 3_000, leave: 1_000 } }],
]);

const SEVERITY: Readonly<Record<HealthState, number>> = { good: 0, degraded: 1, sick: 2 };
/** Two looks in a row may be a moment apart when somebody waits to hear whether a proxy is up. */
const BETWEEN_LOOKS_MILLISECONDS = 1_000;

export interface Judgement {
  readonly health: HealthState;
  readonly items: readonly HealthItem[];
  readonly detail: string;
}

export function judge(was: HealthState, readings: readonly HealthReading[]): Judgement {
  const items = readings.map(({ name, value, unit }) => itemOf(was, { name, value, unit }));
  const health = items.reduce<HealthState>(
    (worst, { state }) => (SEVERITY[state] > SEVERITY[worst] ? state : worst),
    'good',
  );
  const deciding = items.filter(({ state }) => state === health);
  return { health, items, detail: health === 'good' ? 'all is well' : deciding.map(words).join('; ') };
}

/** `limit`: the one that decided, or, where nothing is wrong, the nearest one that would. */
function itemOf(was: HealthState, reading: HealthReading): HealthItem {
  const expected = EXPECTATIONS.get(reading.name);
  if (expected === undefined) return { ...reading, limit: null, state: 'good' };
  for (const state of ['sick', 'degraded'] as const) {
    const limits = expected[state];
    if (limits === undefined) continue;
    const standing = SEVERITY[was] >= SEVERITY[state];
    const limit = standing ? limits.leave : limits.enter;
    const past = expected.bad === 'low' ? reading.value < limit : reading.value >= limit;
    if (past) return { ...reading, limit, state };
  }
  return { ...reading, limit: expected.degraded.enter, state: 'good' };
}

function words({ name, value, unit, limit, state }: HealthItem): string {
  const bad = EXPECTATIONS.get(name)?.bad === 'low' ? 'below' : 'from';
  return `${name} ${Number(value.toFixed(1))} ${unit} (${state} ${bad} ${limit})`;
}

/** None when the judgement is as before. */
export function healthChange(
  hostId: string,
  { proxyId, health: { state: was } }: PooledProxy,
  readings: readonly HealthReading[],
): Event<'ProxyHealthChanged'>[] {
  const { health, items, detail } = judge(was, readings);
  if (health === was) return [];
  return [{ type: 'ProxyHealthChanged', data: { hostId, proxyId, was, health, items: [...items], detail } }];
}

/** What looks have seen that no event says yet, by proxy. Kept by whoever looks; lost with it, it is seen again. */
export type HealthWatch = ReadonlyMap<string, { readonly health: HealthState; readonly since: number }>;

/** `now` in milliseconds since the epoch. */
export function healthChanges(
  pool: Pool,
  seen: Observation,
  watch: HealthWatch,
  now: number,
): { readonly events: HostEvent[]; readonly watch: HealthWatch } {
  const events: HostEvent[] = [];
  const watched = new Map<string, { health: HealthState; since: number }>();
  for (const { proxyId, state, readings } of seen.proxies) {
    const proxy = pool.proxyVms.get(proxyId);
    if (proxy?.state !== 'active' || state !== 'alive' || readings.length === 0) continue;
    const [change] = healthChange(pool.hostId, proxy, readings);
    if (change === undefined) continue;
    const { health } = change.data;
    const before = watch.get(proxyId);
    const since = before?.health === health ? before.since : now;
    if (now - since >= BETWEEN_LOOKS_MILLISECONDS) events.push(change);
    else watched.set(proxyId, { health, since });
  }
  return { events, watch: watched };
}

/** The healthier first. */
export const byHealth = (a: PooledProxy, b: PooledProxy): number =>
  SEVERITY[a.health.state] - SEVERITY[b.health.state];

/** It is given nothing new; what it has comes to its end there. */
export const isSick = ({ health }: PooledProxy): boolean => health.state === 'sick';

/** A sick proxy with no port held serves nobody: what is attached to it is better off elsewhere. */
export const isDrained = (proxy: PooledProxy): boolean =>
  proxy.state === 'active' && isSick(proxy) && proxy.holders.size === 0;

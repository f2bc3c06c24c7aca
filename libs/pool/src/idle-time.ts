/**
 * How long a proxy without work stays. Its idle time is the host's policy's, as it is at this look, or else that of the run which started
 * it. What is kept for a schedule stays until that is due, and then as long as it takes to come: its idle time, and at least the time
 * that starting another might take.
 */
import type { Pool, PooledProxy } from './pool-state.ts';

export const idleSecondsOf = ({ policy }: Pool, { idleSeconds }: PooledProxy): number =>
  policy.proxyIdleSeconds ?? idleSeconds;

/** In milliseconds since the epoch; undefined of one that is not idle. */
export function idleUntil(pool: Pool, proxy: PooledProxy): number | undefined {
  if (proxy.idleSince === undefined) return undefined;
  let until = Date.parse(proxy.idleSince) + idleSecondsOf(pool, proxy) * 1000;
  for (const { dueAt } of proxy.keptFor.values()) until = Math.max(until, keptUntil(pool, proxy, dueAt));
  return until;
}

/** When nobody waits any more for what was due then: a backup that was refused before it was planned never says so to the pool. */
export const keptUntil = (pool: Pool, proxy: PooledProxy, dueAt: string): number =>
  Date.parse(dueAt) + Math.max(idleSecondsOf(pool, proxy), proxy.deadlineSeconds) * 1000;

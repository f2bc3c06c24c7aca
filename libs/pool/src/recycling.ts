/**
 * When a proxy's time is over, by the policy of its host that is in force at this look. Decided before anything else in a pass, and
 * recorded: from then on no run is given it, whatever the clock says, and why stands in the log.
 */
import type { HostEvent, Pool, PooledProxy } from './pool-state.ts';

const HOUR = 3_600_000;

/** Looked at are all proxy VMs: few, however many runs are open, and none where no rule is set. */
export function drainingNow(pool: Pool, now: number): HostEvent[] {
  const { recycleAfterRuns, recycleAfterHours, recycleOldAppliance } = pool.policy;
  if (recycleAfterRuns === null && recycleAfterHours === null && !recycleOldAppliance) return [];
  const events: HostEvent[] = [];
  for (const proxy of pool.proxyVms.values()) {
    if (proxy.state !== 'active' || proxy.draining !== undefined) continue;
    const reason = whyOver(pool, proxy, now);
    if (reason === undefined) continue;
    events.push({ type: 'ProxyDraining', data: { hostId: pool.hostId, proxyId: proxy.proxyId, reason } });
  }
  return events;
}

function whyOver({ policy, appliance }: Pool, proxy: PooledProxy, now: number): string | undefined {
  const { recycleAfterRuns, recycleAfterHours, recycleOldAppliance } = policy;
  if (recycleAfterRuns !== null && proxy.runs >= recycleAfterRuns)
    return `it has served ${proxy.runs} of the ${recycleAfterRuns} runs that a proxy may`;
  if (recycleAfterHours !== null && proxy.requestedAt !== undefined) {
    const hours = (now - Date.parse(proxy.requestedAt)) / HOUR;
    if (hours >= recycleAfterHours) return `it was there for the ${recycleAfterHours} h that a proxy may be`;
  }
  const booted = proxy.characteristics?.appliance ?? undefined;
  if (recycleOldAppliance && booted !== undefined && appliance !== undefined && booted !== appliance)
    return `it was booted from appliance ${booted}, and the host has ${appliance} now`;
  return undefined;
}

/**
 * Why a run cannot have it although it is up: it drains, or it has as many runs as it may serve. `claimed`: runs that were given it in the
 * same pass. Undefined: it can.
 */
export function whyNotShared({ policy }: Pool, proxy: PooledProxy, claimed = 0): string | undefined {
  if (proxy.draining !== undefined) return `it is being recycled: ${proxy.draining}`;
  if (policy.recycleAfterRuns !== null && proxy.runs + claimed >= policy.recycleAfterRuns)
    return `it has all of the ${policy.recycleAfterRuns} runs that a proxy may serve`;
  return undefined;
}

/**
 * What a proxy asks for next that is not simply at work: to be started, to be ended, or to be let go when it has been idle for long enough. Pure;
 * what the runs do with it is theirs (run-steps.ts).
 */
import type { Action } from './actions.ts';
import { idleSecondsOf, idleUntil } from './idle-time.ts';
import { type Pool, type PooledProxy, releaseOf } from './pool-state.ts';
import { isDrained } from './proxy-health.ts';
import type { Steps } from './run-steps.ts';

export function proxySteps(pool: Pool, proxy: PooledProxy, now: number): Steps {
  const { proxyId } = proxy;
  const { hostId } = pool;
  const steps: Steps = { decisions: [], actions: [] };
  if (proxy.state === 'retiring') {
    steps.actions.push(deactivation(proxy, proxy.endsBecause));
  } else if (proxy.state === 'lost') {
    for (const lease of new Set(proxy.holders.values())) steps.decisions.push(releaseOf(lease, 'proxy-lost'));
    // What it was used for is known when all of it is released.
    if (proxy.holders.size === 0) steps.actions.push(deactivation(proxy, proxy.endsBecause));
  } else if (proxy.state === 'requested') {
    const { startedFor: runId, portsAsked: ports, deadlineSeconds } = proxy;
    steps.actions.push({ type: 'ActivateProxy', proxyId, runId, ports, deadlineSeconds });
  } else if (isDrained(proxy)) {
    // What is attached goes with it, and whose it was chooses again.
    const reason = `sick: ${proxy.health.detail}`;
    steps.decisions.push({ type: 'ProxyRetiring', data: { hostId, proxyId, reason } });
  } else if (proxy.attachments.size === 0 && proxy.holders.size === 0) {
    const until = idleUntil(pool, proxy);
    if (proxy.draining !== undefined) {
      steps.decisions.push({ type: 'ProxyRetiring', data: { hostId, proxyId, reason: proxy.draining } });
    } else if (until === undefined) {
      const since = new Date(now).toISOString();
      steps.decisions.push({ type: 'ProxyIdle', data: { hostId, proxyId, since } });
    } else if (now >= until) {
      // Decided before it is done: from here on no run is given it.
      const reason = `idle for ${idleSecondsOf(pool, proxy)} seconds`;
      steps.decisions.push({ type: 'ProxyRetiring', data: { hostId, proxyId, reason } });
    }
  }
  return steps;
}

const deactivation = (proxy: PooledProxy, reason: string): Action => ({
  type: 'DeactivateProxy',
  proxyId: proxy.proxyId,
  reason,
  attachments: [...proxy.attachments.values()].map(({ runId, diskId }) => ({ runId, diskId })),
  use: { requestedAt: proxy.requestedAt, portMilliseconds: proxy.portMilliseconds, runs: proxy.runs },
});

/**
 * Whether what an action brought about still says something new. A worker that was replaced may finish an action beside its successor,
 * or long after it: the append of its confirmation expects the stream as it knows it, and so is decided again on the newest
 * pool, where this is asked. What it has done at the host and no event knows of is found by the next observation (drift.ts).
 */
import type { Action } from './actions.ts';
import { costOf } from './cost.ts';
import { attachmentKey, directProxyId, type HostEvent, isInstant, type Pool } from './pool.ts';

export function confirmsSomething(pool: Pool, event: HostEvent): boolean {
  switch (event.type) {
    case 'SnapshotTaken':
    case 'TargetCreated': {
      const hold = pool.runs.get(event.data.runId)?.hold;
      return hold === 'requested' || hold === 'lost';
    }
    case 'TargetKept': {
      const run = pool.runs.get(event.data.runId);
      // A VM that runs is a fact, also where the run has failed meanwhile.
      return run !== undefined && isInstant(run) ? run.hold === 'ready' : letsGo(pool, event.data.runId);
    }
    case 'FillProgressed':
    case 'FillInterrupted':
    case 'TargetFilled':
    case 'TargetLeft':
      return pool.runs.get(event.data.runId)?.hold === 'filling';
    case 'SnapshotReleased':
    case 'TargetDiscarded':
      return letsGo(pool, event.data.runId);
    case 'DirectEndpointOpened': {
      const { runId } = event.data;
      return pool.runs.get(runId)?.hold === 'ready' && !pool.proxies.has(directProxyId(runId));
    }
    case 'RunFailed': {
      const run = pool.runs.get(event.data.runId);
      if (run === undefined) return false;
      // All was written, but the host refuses to make a VM of it.
      if (run.order.purpose === 'recovery' && run.outcome === 'completed')
        return letsGo(pool, run.order.runId);
      return run.outcome === undefined;
    }
    case 'ProxyActivated':
      return pool.proxies.get(event.data.proxyId)?.state === 'requested';
    case 'ProxyDeactivated':
      return pool.proxies.has(event.data.proxyId);
    case 'DiskAttached': {
      const { proxyId, runId, diskId } = event.data;
      return pool.proxies.get(proxyId)?.attachments.get(attachmentKey(runId, diskId))?.state === 'requested';
    }
    case 'DiskDetached':
      return detachIsDue(pool, event.data);
    default:
      return true;
  }
}

/** Whether the run is over, and its hold on disks is not. */
function letsGo(pool: Pool, runId: string): boolean {
  const run = pool.runs.get(runId);
  return run?.outcome !== undefined && run.hold !== 'none' && run.hold !== 'released';
}

/** One that comes so late that the disk is in use again would take it from under its readers. */
function detachIsDue(
  pool: Pool,
  { proxyId, runId, diskId }: { proxyId: string; runId: string; diskId: string },
): boolean {
  const proxy = pool.proxies.get(proxyId);
  if (proxy?.attachments.has(attachmentKey(runId, diskId)) !== true) return false;
  if (proxy.state === 'lost' || proxy.state === 'retiring') return true;
  const run = pool.runs.get(runId);
  if (run === undefined || run.outcome !== undefined || run.leaving.has(proxyId)) return true;
  return !run.unfinished.has(diskId);
}

/** `at`: when it was seen gone. What was attached is gone with the proxy: each run hears of its own disks. */
export const deactivated = (
  hostId: string,
  { proxyId, reason, attachments, use }: Extract<Action, { type: 'DeactivateProxy' }>,
  at: string,
): HostEvent[] => {
  const cost = costOf(use, at);
  const gone = { hostId, proxyId, reason, ...(cost === undefined ? {} : { cost }) };
  const detached = attachments.map(
    ({ runId, diskId }): HostEvent => ({
      type: 'DiskDetached',
      data: { hostId, runId, proxyId, diskId },
    }),
  );
  return [...detached, { type: 'ProxyDeactivated', data: gone }];
};

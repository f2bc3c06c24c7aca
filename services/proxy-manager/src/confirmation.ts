/**
 * Whether what an action brought about still says something new. A worker that was replaced may finish an action beside its successor,
 * or long after it: the append of its confirmation expects the stream as it knows it, and so is decided again on the newest
 * pool, where this is asked. What it has done at the host and no event knows of is found by the next observation (drift.ts).
 */
import { attachmentKey, directProxyId, type HostEvent, type Pool } from './pool.ts';

export function confirmsSomething(pool: Pool, event: HostEvent): boolean {
  switch (event.type) {
    case 'SnapshotTaken': {
      const state = pool.runs.get(event.data.backupId)?.snapshot;
      return state === 'requested' || state === 'lost';
    }
    case 'SnapshotReleased': {
      const run = pool.runs.get(event.data.backupId);
      return run?.outcome !== undefined && run.snapshot !== 'none' && run.snapshot !== 'released';
    }
    case 'DirectEndpointOpened': {
      const { backupId } = event.data;
      return pool.runs.get(backupId)?.snapshot === 'taken' && !pool.proxies.has(directProxyId(backupId));
    }
    case 'RunFailed': {
      const run = pool.runs.get(event.data.backupId);
      return run !== undefined && run.outcome === undefined;
    }
    case 'ProxyActivated':
      return pool.proxies.get(event.data.proxyId)?.state === 'requested';
    case 'ProxyDeactivated':
      return pool.proxies.has(event.data.proxyId);
    case 'DiskAttached': {
      const { proxyId, backupId, diskId } = event.data;
      return (
        pool.proxies.get(proxyId)?.attachments.get(attachmentKey(backupId, diskId))?.state === 'requested'
      );
    }
    case 'DiskDetached':
      return detachIsDue(pool, event.data);
    default:
      return true;
  }
}

/** One that comes so late that the disk is in use again would take it from under its readers. */
function detachIsDue(
  pool: Pool,
  { proxyId, backupId, diskId }: { proxyId: string; backupId: string; diskId: string },
): boolean {
  const proxy = pool.proxies.get(proxyId);
  if (proxy?.attachments.has(attachmentKey(backupId, diskId)) !== true) return false;
  if (proxy.state === 'lost' || proxy.state === 'retiring') return true;
  const run = pool.runs.get(backupId);
  return run === undefined || run.outcome !== undefined || !run.unfinished.has(diskId);
}

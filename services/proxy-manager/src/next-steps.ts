/**
 * What is to be done next at one host, derived from the pool alone: nothing is remembered between calls, so after a crash
 * the work goes on where the events stand. Pure.
 *
 * - A decision becomes events at once (choose proxies, lease ports, declare a run closed).
 * - An action is done at the hypervisor and confirmed by an event afterwards. Every action can be repeated safely, because
 *   the host finds by id what an earlier try has made; each was announced by a `...Requested` event before.
 */
import { chooseProxies, missingAttachments, noClaims } from './choose-proxies.ts';
import { leasesNow, proxiesOf, releaseOf } from './lease-ports.ts';
import {
  type Attachment,
  attachmentKey,
  directProxyId,
  type HostEvent,
  type Order,
  type Pool,
  type PooledProxy,
  type Run,
} from './pool.ts';

export type Action =
  | { readonly type: 'TakeSnapshot'; readonly order: Order; readonly takenAt: string | null }
  | {
      readonly type: 'ReleaseSnapshot';
      readonly order: Order;
      readonly checkpoints: 'committed' | 'discarded';
    }
  | {
      readonly type: 'ActivateProxy';
      readonly proxyId: string;
      readonly backupId: string;
      readonly ports: number;
      readonly deadlineSeconds: number;
    }
  /** With what was attached to it: gone with the proxy, and confirmed with it. */
  | {
      readonly type: 'DeactivateProxy';
      readonly proxyId: string;
      readonly reason: string;
      readonly attachments: readonly { readonly backupId: string; readonly diskId: string }[];
    }
  | {
      readonly type: 'AttachDisk';
      readonly proxyId: string;
      readonly backupId: string;
      readonly diskId: string;
    }
  | {
      readonly type: 'DetachDisk';
      readonly proxyId: string;
      readonly backupId: string;
      readonly diskId: string;
    }
  | { readonly type: 'OpenDirectEndpoint'; readonly order: Order }
  /** Something at the host that no event knows of: it is removed, and only then reported. */
  | {
      readonly type: 'RemoveStray';
      readonly what: 'proxy' | 'snapshot';
      readonly id: string;
      readonly vmId: string;
    };

/** Names the thing an action works on: two actions on one thing never run at the same time. */
export function actionKey(action: Action): string {
  switch (action.type) {
    case 'TakeSnapshot':
    case 'ReleaseSnapshot':
    case 'OpenDirectEndpoint':
      return `snapshot ${action.order.backupId}`;
    case 'RemoveStray':
      return `${action.what} ${action.id}`;
    case 'ActivateProxy':
    case 'DeactivateProxy':
      return `proxy ${action.proxyId}`;
    case 'AttachDisk':
    case 'DetachDisk':
      return `attachment ${action.proxyId} ${attachmentKey(action.backupId, action.diskId)}`;
  }
}

export interface Steps {
  readonly decisions: HostEvent[];
  readonly actions: Action[];
}

/** How many proxies may fail under one run before the run itself is given up. */
const PROXIES_LOST_MAX = 5;
/** How often a snapshot may be found lost and served again. */
const SNAPSHOTS_LOST_MAX = 5;

/** `now` in milliseconds since the epoch: only idle time depends on it. */
export function nextSteps(pool: Pool, now: number): Steps {
  const steps: Steps = { decisions: [], actions: [] };
  const claims = noClaims();
  for (const run of pool.runs.values()) {
    if (run.outcome !== undefined) tearDown(pool, run, steps);
    else if (run.snapshot !== 'taken') beginSnapshot(run, steps);
    else if (run.order.mode === 'direct-to-host') runDirect(pool, run, steps);
    else runThroughProxies(pool, run, steps, claims);
  }
  for (const proxy of pool.proxies.values())
    if (proxy.kind === 'proxy' && !claims.disks.has(proxy.proxyId)) tendProxy(pool, proxy, now, steps);
  // Leases come last: they see the pool before this pass's decisions, and none of those frees or takes a port.
  steps.decisions.push(...leasesNow(pool));
  return steps;
}

function beginSnapshot(run: Run, { decisions, actions }: Steps): void {
  const { hostId, backupId, vmId } = run.order;
  if (run.snapshot === 'none')
    decisions.push({ type: 'SnapshotRequested', data: { hostId, backupId, vmId } });
  else if (run.snapshotsLost > SNAPSHOTS_LOST_MAX) decisions.push(failure(run, snapshotRefusal(run)));
  else actions.push({ type: 'TakeSnapshot', order: run.order, takenAt: run.takenAt });
}

function runDirect(pool: Pool, run: Run, { decisions, actions }: Steps): void {
  if (!pool.proxies.has(directProxyId(run.order.backupId))) {
    actions.push({ type: 'OpenDirectEndpoint', order: run.order });
  } else if (!run.announced) {
    decisions.push(announcement(run, []));
  }
}

function runThroughProxies(pool: Pool, run: Run, { decisions, actions }: Steps, claims = noClaims()): void {
  if (run.chosen === undefined || run.chosen.size === 0) {
    if (run.proxiesLost >= PROXIES_LOST_MAX) decisions.push(failure(run, lossesRefusal(pool, run)));
    else decisions.push(...chooseProxies(pool, run, claims));
    return;
  }
  decisions.push(...missingAttachments(pool, run, claims));
  const unfinished = new Set(
    [...run.jobs.values()].filter((job) => job.state !== 'done').map((job) => job.diskId),
  );
  let ready = true;
  for (const proxyId of run.chosen.keys()) {
    const proxy = pool.proxies.get(proxyId);
    if (proxy?.state !== 'active') {
      ready = false;
      continue;
    }
    for (const attachment of attachmentsOf(run, proxy)) {
      const { diskId } = attachment;
      if (attachment.state === 'requested') {
        ready = false;
        actions.push({ type: 'AttachDisk', proxyId, backupId: run.order.backupId, diskId });
      } else if (!unfinished.has(diskId)) {
        // A disk that is read to its end makes room for others without waiting for the rest of the run.
        actions.push({ type: 'DetachDisk', proxyId, backupId: run.order.backupId, diskId });
      }
    }
  }
  if (ready && !run.announced) decisions.push(announcement(run, proxiesOf(pool, run)));
}

/** Looked up by the run's own disks: a shared proxy may hold those of thousands of other runs. */
const attachmentsOf = (run: Run, proxy: PooledProxy): Attachment[] =>
  run.order.disks
    .map(({ diskId }) => proxy.attachments.get(attachmentKey(run.order.backupId, diskId)))
    .filter((attachment) => attachment !== undefined);

function tearDown(pool: Pool, run: Run, { decisions, actions }: Steps): void {
  const { hostId, backupId } = run.order;
  for (const job of run.jobs.values()) {
    if (job.lease !== undefined) decisions.push(releaseOf(job.lease, 'run-ended'));
  }
  let attached = false;
  for (const proxy of pool.proxies.values()) {
    if (proxy.kind !== 'proxy') continue;
    for (const attachment of attachmentsOf(run, proxy)) {
      attached = true;
      // What a lost proxy held is given back with the proxy.
      if (proxy.state === 'lost' || proxy.state === 'retiring') continue;
      if (proxy.state === 'active') {
        actions.push({ type: 'DetachDisk', proxyId: proxy.proxyId, backupId, diskId: attachment.diskId });
      } else {
        // Never attached: the proxy is not up yet. The confirmed absence closes the obligation.
        const { diskId } = attachment;
        decisions.push({ type: 'DiskDetached', data: { hostId, backupId, proxyId: proxy.proxyId, diskId } });
      }
    }
  }
  if (attached) return;
  if (run.snapshot === 'none' || run.snapshot === 'released') {
    decisions.push({ type: 'RunClosed', data: { hostId, backupId, outcome: run.outcome ?? 'failed' } });
  } else {
    const checkpoints = run.outcome === 'completed' ? 'committed' : 'discarded';
    actions.push({ type: 'ReleaseSnapshot', order: run.order, checkpoints });
  }
}

function tendProxy(pool: Pool, proxy: PooledProxy, now: number, { decisions, actions }: Steps): void {
  const { proxyId } = proxy;
  if (proxy.state === 'retiring') {
    actions.push(deactivation(proxy, proxy.endsBecause));
  } else if (proxy.state === 'lost') {
    for (const lease of new Set(proxy.holders.values())) decisions.push(releaseOf(lease, 'proxy-lost'));
    actions.push(deactivation(proxy, proxy.endsBecause));
  } else if (proxy.state === 'requested') {
    const { startedFor: backupId, portsAsked: ports, deadlineSeconds } = proxy;
    actions.push({ type: 'ActivateProxy', proxyId, backupId, ports, deadlineSeconds });
  } else if (proxy.attachments.size === 0 && proxy.holders.size === 0) {
    if (proxy.idleSince === undefined) {
      const since = new Date(now).toISOString();
      decisions.push({ type: 'ProxyIdle', data: { hostId: pool.hostId, proxyId, since } });
    } else if (now - Date.parse(proxy.idleSince) >= proxy.idleSeconds * 1000) {
      // Decided before it is done: from here on no run is given it.
      const reason = `idle for ${proxy.idleSeconds} seconds`;
      decisions.push({ type: 'ProxyRetiring', data: { hostId: pool.hostId, proxyId, reason } });
    }
  }
}

const deactivation = (proxy: PooledProxy, reason: string): Action => ({
  type: 'DeactivateProxy',
  proxyId: proxy.proxyId,
  reason,
  attachments: [...proxy.attachments.values()].map(({ backupId, diskId }) => ({ backupId, diskId })),
});

const announcement = (run: Run, proxies: readonly PooledProxy[]): HostEvent => ({
  type: 'ProxiesActivated',
  data: {
    hostId: run.order.hostId,
    backupId: run.order.backupId,
    vmId: run.order.vmId,
    mode: run.order.mode,
    asked: run.order.proxies,
    proxies: proxies.map((proxy) => {
      const choice = run.chosen?.get(proxy.proxyId);
      return {
        proxyId: proxy.proxyId,
        ports: proxy.ports.length,
        shared: choice?.shared ?? false,
        why: choice?.why ?? '',
      };
    }),
    shortfall: run.shortfall,
  },
});

export const failure = (run: Run, refusal: { code: string; message: string; wayOut: string }): HostEvent => ({
  type: 'RunFailed',
  data: { hostId: run.order.hostId, backupId: run.order.backupId, vmId: run.order.vmId, refusal },
});

const snapshotRefusal = (run: Run): { code: string; message: string; wayOut: string } => ({
  code: 'SnapshotLost',
  message: `The snapshot of vm ${run.order.vmId} was lost ${run.snapshotsLost} times during the backup.`,
  wayOut: 'Look at the events SnapshotLost of this backup; mend the host, then start the backup again.',
});

function lossesRefusal(pool: Pool, run: Run): { code: string; message: string; wayOut: string } {
  const reasons = [...pool.proxies.values()]
    .filter((proxy) => proxy.state === 'lost')
    .map((proxy) => proxy.endsBecause);
  return {
    code: 'NoProxyCameUp',
    message: `${run.proxiesLost} proxies were lost under the backup of vm ${run.order.vmId} on host ${pool.hostId}${reasons.length > 0 ? `, at last because: ${reasons.at(-1)}` : ''}.`,
    wayOut: 'Look at the events ProxyLost of this backup; mend the host, or force the mode direct-to-host.',
  };
}

/**
 * What one run asks for next, derived from it and its proxies alone. Pure: every event that touches either leads to another look
 * (due.ts), so nothing is remembered between looks.
 */
import type { Action } from './actions.ts';
import { instantSteps } from './instant-steps.ts';
import {
  type Attachment,
  accessOf,
  attachmentKey,
  directProxyId,
  failureOf,
  type HostEvent,
  isInstant,
  type Pool,
  type PooledProxy,
  proxiesOf,
  type Run,
  releaseOf,
  type Stage,
  storageOf,
} from './pool-state.ts';
import { isSick } from './proxy-health.ts';

export interface Steps {
  readonly decisions: HostEvent[];
  readonly actions: Action[];
}

/**
 * How often in a row proxies may be chosen for a run, and all of them be lost or fall sick before a child job is done. However many die of one
 * cause, it is one choice that came to nothing; and what ends well after its work counts for nothing.
 */
const CHOICES_IN_ROW_MAX = 5;
/** How often in a row the run's hold on its disks may be found lost, and they be served again, without a child job done in between. */
const HOLDS_LOST_MAX = 5;

export function stageOf(run: Run): Stage {
  if (run.outcome !== undefined) return 'ending';
  if (run.paused || run.leaving.size > 0) return 'pausing';
  return run.hold === 'ready' || run.hold === 'filling' ? 'connecting' : 'beginning';
}

/** All but what depends on what other runs take: leave to begin (limits.ts), the choice of proxies and room for disks (choose-proxies.ts). */
export function stepsOf(pool: Pool, run: Run): Steps {
  const steps: Steps = { decisions: [], actions: [] };
  const stage = stageOf(run);
  if (stage === 'ending') tearDown(pool, run, steps);
  else if (stage === 'pausing') standStill(pool, run, steps);
  else if (run.order.purpose === 'recovery' && isInstant(run)) instantSteps(run, run.order, steps);
  else if (stage === 'beginning') takeHold(run, steps);
  else if (run.order.mode === 'direct-to-host') runDirect(pool, run, steps);
  else if (hasProxies(pool, run)) runThroughProxies(pool, run, steps);
  else if (needsProxies(run) && run.choicesInRow >= CHOICES_IN_ROW_MAX)
    steps.decisions.push(failureOf(run.order, lossesRefusal(pool, run)));
  return steps;
}

/** One whose proxies are all sick has none: those are drained, and it chooses others at once. */
const hasProxies = (pool: Pool, run: Run): boolean =>
  [...(run.chosen?.keys() ?? [])].some((proxyId) => !isSickId(pool, proxyId));

const isSickId = (pool: Pool, proxyId: string): boolean => {
  const proxy = pool.proxies.get(proxyId);
  return proxy !== undefined && isSick(proxy);
};

/** Not when all is read or written: a proxy that goes before the run's end is told is not replaced. */
const needsProxies = (run: Run): boolean => run.unfinished.size > 0 || !run.announced;

export const awaitsProxies = (pool: Pool, run: Run): boolean =>
  stageOf(run) === 'connecting' &&
  needsProxies(run) &&
  run.order.mode !== 'direct-to-host' &&
  !hasProxies(pool, run) &&
  run.choicesInRow < CHOICES_IN_ROW_MAX;

/** Whether some disk with work left is held by none of the run's proxies. */
export function lacksAttachment(pool: Pool, run: Run): boolean {
  if (stageOf(run) !== 'connecting' || run.order.mode === 'direct-to-host' || !hasProxies(pool, run))
    return false;
  const held = new Set<string>();
  for (const proxyId of run.chosen?.keys() ?? []) {
    const proxy = pool.proxies.get(proxyId);
    if ((proxy?.state !== 'active' && proxy?.state !== 'requested') || isSick(proxy)) continue;
    for (const { diskId } of attachmentsOf(run, proxy)) held.add(diskId);
  }
  return [...run.unfinished.keys()].some((diskId) => !held.has(diskId));
}

/** Of the frozen disks of a backup, or of the empty disks of a recovery. */
function takeHold(run: Run, { decisions, actions }: Steps): void {
  const { order } = run;
  // It waits for leave (limits.ts).
  if (run.hold === 'none') return;
  if (run.holdsLost > HOLDS_LOST_MAX) decisions.push(failureOf(run.order, holdLostRefusal(run)));
  else if (order.purpose === 'backup') actions.push({ type: 'TakeSnapshot', order, takenAt: run.takenAt });
  else actions.push({ type: 'CreateTarget', order, again: run.targets.size > 0 });
}

function runDirect(pool: Pool, run: Run, { decisions, actions }: Steps): void {
  if (!pool.proxies.has(directProxyId(run.order.runId))) {
    actions.push({ type: 'OpenDirectEndpoint', order: run.order });
  } else if (!run.announced) {
    decisions.push(announcement(run, []));
  }
}

function runThroughProxies(pool: Pool, run: Run, { decisions, actions }: Steps): void {
  const { runId } = run.order;
  let ready = true;
  for (const proxyId of run.chosen?.keys() ?? []) {
    const proxy = pool.proxies.get(proxyId);
    if (proxy?.state !== 'active') {
      ready = false;
      continue;
    }
    for (const { diskId, state } of attachmentsOf(run, proxy)) {
      if (state === 'requested') {
        ready = false;
        actions.push({ type: 'AttachDisk', proxyId, runId, diskId, access: accessOf(run) });
      } else if (!run.unfinished.has(diskId)) {
        // A disk that is done makes room for others without waiting for the rest of the run.
        actions.push({ type: 'DetachDisk', proxyId, runId, diskId });
      }
    }
  }
  if (ready && !run.announced) decisions.push(announcement(run, proxiesOf(pool, run)));
}

/** Looked up by the run's own disks: a shared proxy may hold those of thousands of other runs. */
const attachmentsOf = (run: Run, proxy: PooledProxy): Attachment[] =>
  run.order.disks
    .map(({ diskId }) => proxy.attachments.get(attachmentKey(run.order.runId, diskId)))
    .filter((attachment) => attachment !== undefined);

/** A paused run gives its ports and its proxies to others. What it holds of disks stays, and is served again where that was lost. */
function standStill(pool: Pool, run: Run, steps: Steps): void {
  giveBackPorts(run, 'paused', steps);
  detachAll(pool, run, steps);
  if (run.hold === 'lost' && run.leaving.size === 0) takeHold(run, steps);
}

function tearDown(pool: Pool, run: Run, steps: Steps): void {
  const { hostId, runId, purpose } = run.order;
  giveBackPorts(run, 'run-ended', steps);
  if (detachAll(pool, run, steps)) return;
  if (run.hold !== 'none' && run.hold !== 'released') steps.actions.push(letGo(run));
  // What it has cost is known when all of it is released.
  else if (run.leased === 0)
    steps.decisions.push(...summariesOf(run), {
      type: 'RunClosed',
      data: { hostId, runId, purpose, outcome: run.outcome ?? 'failed', ...portSecondsOf(run) },
    });
}

function giveBackPorts(run: Run, because: 'paused' | 'run-ended', { decisions }: Steps): void {
  if (run.leased === 0) return;
  for (const job of run.jobs.values())
    if (job.lease !== undefined) decisions.push(releaseOf(job.lease, because));
}

/** Whether any disk is still attached anywhere. */
function detachAll(pool: Pool, run: Run, { decisions, actions }: Steps): boolean {
  const { hostId, runId } = run.order;
  let attached = false;
  for (const proxyId of run.at) {
    const proxy = pool.proxyVms.get(proxyId);
    if (proxy === undefined) continue;
    for (const { diskId } of attachmentsOf(run, proxy)) {
      attached = true;
      // What a lost proxy held is given back with the proxy.
      if (proxy.state === 'lost' || proxy.state === 'retiring') continue;
      if (proxy.state === 'active') actions.push({ type: 'DetachDisk', proxyId, runId, diskId });
      // Never attached: the proxy is not up yet. The confirmed absence closes the obligation.
      else decisions.push({ type: 'DiskDetached', data: { hostId, runId, proxyId, diskId } });
    }
  }
  return attached;
}

const portSecondsOf = ({ portMilliseconds }: Run): { portSeconds?: number } =>
  portMilliseconds === undefined ? {} : { portSeconds: portMilliseconds / 1000 };

/** What it moved, told once: news that came until now has counted, and later news finds no run. */
const summariesOf = (run: Run): HostEvent[] => {
  const { hostId, runId, vmId, purpose, mode } = run.order;
  const storage = storageOf(run);
  return [...run.moved].map(([proxyId, totals]) => ({
    type: 'ProxyThroughputObserved',
    data: { hostId, runId, vmId, purpose, mode, proxyId, storage, ...totals },
  }));
};

/** The inverse of `takeHold`, by how the run ended. */
function letGo({ order, outcome, hold }: Run): Action {
  const completed = outcome === 'completed';
  if (order.purpose === 'backup')
    return { type: 'ReleaseSnapshot', order, checkpoints: completed ? 'committed' : 'discarded' };
  // Somebody may have worked in it.
  if (hold === 'filling') return { type: 'LeaveTarget', order };
  return { type: completed ? 'KeepTarget' : 'DiscardTarget', order };
}

const announcement = (run: Run, proxies: readonly PooledProxy[]): HostEvent => ({
  type: 'ProxiesActivated',
  data: {
    hostId: run.order.hostId,
    runId: run.order.runId,
    vmId: run.order.vmId,
    purpose: run.order.purpose,
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

const holdLostRefusal = (run: Run): { code: string; message: string; wayOut: string } => {
  const { vmId, purpose } = run.order;
  return purpose === 'backup'
    ? {
        code: 'SnapshotLost',
        message: `The snapshot of vm ${vmId} was lost ${run.holdsLost} times in a row during the backup.`,
        wayOut: 'Look at the events SnapshotLost of this backup; mend the host, then start the backup again.',
      }
    : {
        code: 'TargetLost',
        message: `The disks of vm ${vmId} were lost ${run.holdsLost} times in a row during the recovery.`,
        wayOut:
          'Look at the events TargetLost of this recovery; mend the host, then start the recovery again.',
      };
};

function lossesRefusal(
  pool: Pool,
  { order, servedBy, choicesInRow }: Run,
): { code: string; message: string; wayOut: string } {
  const reason = [...servedBy].map((proxyId) => whyEnded(pool, proxyId)).findLast((why) => why !== '');
  return {
    code: 'NoProxyCameUp',
    message: `Proxies were chosen ${choicesInRow} times in a row for the ${order.purpose} of vm ${order.vmId} on host ${pool.hostId}, and all of them were lost before a child job was done${reason === undefined ? '' : `; at last because: ${reason}`}.`,
    wayOut:
      'Look at the events ProxyLost and ProxyHealthChanged of this host; mend what they name, or force the mode direct-to-host.',
  };
}

/** '' where it has not, and is well. */
function whyEnded({ proxies, gone }: Pool, proxyId: string): string {
  const proxy = proxies.get(proxyId);
  if (proxy === undefined) return gone.get(proxyId) ?? '';
  return proxy.endsBecause || (isSick(proxy) ? `it is sick: ${proxy.health.detail}` : '');
}

/**
 * The pool of one host: which runs are open, which proxies are up, and who holds which port. Folded from the stream
 * `host-<hostId>`, which is the consistency boundary for all three.
 *
 * Promises kept by those who append to the stream (commands.ts, next-steps.ts), and checked here as invariants:
 * a port never has two holders, and a child job never holds two leases.
 *
 * The fold owns its state and changes it in place: a host's stream is long, and a copy per event would make loading it
 * quadratic. Nobody else may change a pool.
 */
import type { EventData } from '@backhaul/contracts';
import { noteDue } from './due.ts';
import { changeFill, letGoBy } from './fill.ts';
import { forgive, lease, release } from './fold-leases.ts';
import { openDirect, requestedProxy } from './open-proxy.ts';
import { countJobs, openRun } from './open-run.ts';
import { changePause, endedEarly, hasLeft, heardBefore } from './pause.ts';
import {
  attachmentKey,
  directProxyId,
  type HostEvent,
  type Pool,
  type PooledProxy,
  type Run,
} from './pool-state.ts';
import { changeKept } from './prestart.ts';
import { isSick } from './proxy-health.ts';
import { learn } from './throughput.ts';
import { withProxy, withRun } from './with-one.ts';

export * from './pool-state.ts';
export { requestedProxy };

/** History already happened, so the fold never refuses; an event from a newer release changes nothing. */
export function evolve(pool: Pool, event: HostEvent): Pool {
  change(pool, event);
  changeKept(pool, event);
  noteDue(pool, event);
  return pool;
}

function change(pool: Pool, event: HostEvent): void {
  switch (event.type) {
    case 'HostRegistered':
      pool.registered = event.data;
      break;
    case 'HostPolicyAdopted':
      pool.policy = event.data.policy;
      pool.policyRevision = event.data.revision;
      break;
    case 'ActivationRequested':
      pool.runsEver += 1;
      beginRun(pool, openRun(event.data, pool.runsEver));
      break;
    case 'TargetRequested':
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'requested';
        run.fill.mounts = event.data.mounts;
      });
      break;
    case 'SnapshotRequested':
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'requested';
      });
      break;
    case 'SnapshotTaken':
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'ready';
        run.takenAt ??= event.data.takenAt;
        run.disks = event.data.disks;
        run.storages = storagesOf(event.data.disks);
      });
      break;
    case 'TargetCreated':
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'ready';
        run.storages = storagesOf(event.data.disks);
        run.targets = new Map(event.data.disks.map(({ diskId, endpoint }) => [diskId, endpoint]));
      });
      break;
    case 'SnapshotLost':
    case 'TargetLost':
      if (event.type === 'TargetLost') attachAgain(pool, event.data.runId);
      withRun(pool, event.data.runId, (run) => {
        run.hold = 'lost';
        run.holdsLost += 1;
        forgive(run);
      });
      pool.proxies.delete(directProxyId(event.data.runId));
      break;
    case 'FillProgressed':
    case 'FillInterrupted':
    case 'TargetFilled':
      withRun(pool, event.data.runId, (run) => changeFill(run, event));
      break;
    case 'TargetKept':
    case 'SnapshotReleased':
    case 'TargetLeft':
    case 'TargetDiscarded':
      withRun(pool, event.data.runId, (run) => letGoBy(run, event.type));
      pool.proxies.delete(directProxyId(event.data.runId));
      break;
    case 'ProxiesChosen':
      withRun(pool, event.data.runId, (run) => {
        run.chosen = new Map(
          event.data.proxies.map(({ proxyId, shared, why }) => [proxyId, { shared, why }]),
        );
        run.shortfall = event.data.shortfall;
        run.choicesInRow += 1;
      });
      break;
    case 'ProxyActivationRequested':
      pool.proxiesEver += 1;
      addProxy(pool, requestedProxy(event.data));
      break;
    case 'ProxyActivated':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.state = 'active';
        proxy.ports = event.data.ports;
        proxy.characteristics = event.data.characteristics;
      });
      break;
    case 'DirectEndpointOpened':
      addProxy(pool, openDirect(event.data));
      break;
    case 'ProxyLost':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.state = 'lost';
        proxy.endsBecause = event.data.reason;
      });
      forgetProxy(pool, event.data.proxyId);
      excuse(pool, event.data.proxyId);
      break;
    case 'ProxyHealthObserved':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.suspect = false;
        // Where the disks were gone it was said before (drift.ts).
        const users = proxy.kind === 'direct' ? [proxy.startedFor] : pool.due.users.get(proxy.proxyId);
        for (const runId of users ?? []) withRun(pool, runId, (run) => run.unexplained.clear());
      });
      break;
    case 'ProxyHealthChanged':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.health = { state: event.data.health, detail: event.data.detail };
      });
      break;
    case 'ProxyThroughputObserved':
      learn(pool.throughput, event.data, (proxyId) => !pool.proxyVms.has(proxyId));
      break;
    case 'ProxyDraining':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.draining = event.data.reason;
      });
      break;
    case 'ApplianceObserved':
      pool.appliance = event.data.appliance;
      break;
    case 'ProxyRetiring':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.state = 'retiring';
        proxy.endsBecause = event.data.reason;
      });
      break;
    case 'ProxyDeactivated':
      if (pool.proxyVms.has(event.data.proxyId)) noteGone(pool, event.data);
      if (!endsWell(pool.proxies.get(event.data.proxyId))) excuse(pool, event.data.proxyId);
      pool.proxies.delete(event.data.proxyId);
      pool.proxyVms.delete(event.data.proxyId);
      forgetProxy(pool, event.data.proxyId);
      // Who had to do with it is forgotten after they were all looked at (due.ts): one may have waited for nothing else.
      for (const runId of pool.due.users.get(event.data.proxyId) ?? [])
        withRun(pool, runId, (run) => run.at.delete(event.data.proxyId));
      break;
    case 'ProxyIdle':
      withProxy(pool, event.data.proxyId, (proxy) => {
        proxy.idleSince = event.data.since;
      });
      break;
    case 'DiskAttachRequested':
      withProxy(pool, event.data.proxyId, (proxy) => {
        const { runId, diskId } = event.data;
        proxy.idleSince = undefined;
        proxy.attachments.set(attachmentKey(runId, diskId), {
          runId,
          diskId,
          state: 'requested',
          exportName: '',
        });
        withRun(pool, runId, (run) => {
          run.at.add(proxy.proxyId);
          if (run.servedBy.has(proxy.proxyId)) return;
          run.servedBy.add(proxy.proxyId);
          proxy.runs += 1;
        });
      });
      break;
    case 'DiskAttached':
      withProxy(pool, event.data.proxyId, (proxy) => {
        const attachment = proxy.attachments.get(attachmentKey(event.data.runId, event.data.diskId));
        if (attachment === undefined) return;
        attachment.state = 'attached';
        attachment.exportName = event.data.exportName;
      });
      break;
    case 'DiskDetached':
      withProxy(pool, event.data.proxyId, (proxy) => {
        const { runId, diskId } = event.data;
        proxy.attachments.delete(attachmentKey(runId, diskId));
        withRun(pool, runId, (run) => leaveProxy(pool, run, proxy));
      });
      break;
    case 'ProxiesActivated':
      withRun(pool, event.data.runId, (run) => {
        run.announced = true;
      });
      break;
    case 'PortsLeased':
      lease(pool, event.data);
      break;
    case 'PortsReleased':
      release(pool, event.data);
      break;
    case 'RunPaused':
    case 'RunResumed':
      changePause(pool, event);
      break;
    case 'RunFailed':
      withRun(pool, event.data.runId, (run) => {
        run.outcome = 'failed';
      });
      break;
    case 'RunEnding':
      withRun(pool, event.data.runId, (run) => {
        run.outcome = event.data.outcome;
      });
      break;
    case 'RunClosed':
      closeRun(pool, event.data.runId);
      break;
  }
}

const storagesOf = (disks: readonly { readonly storage?: string | undefined }[]): string[] => [
  ...new Set(disks.flatMap(({ storage }) => storage ?? [])),
];

/** How many proxies that have ended are remembered, with the reason. */
const GONE_MAX = 64;

function noteGone({ gone }: Pool, { proxyId, reason }: EventData<'ProxyDeactivated'>): void {
  gone.set(proxyId, reason);
  for (const first of gone.keys()) if (gone.size > GONE_MAX) gone.delete(first);
}

function beginRun(pool: Pool, run: Run): void {
  pool.runs.set(run.order.runId, run);
  heardBefore(pool, run);
}

function closeRun(pool: Pool, runId: string): void {
  const run = pool.runs.get(runId);
  if (run === undefined) {
    endedEarly(pool, runId);
    return;
  }
  for (const proxyId of [...(run.chosen?.keys() ?? []), ...run.at])
    pool.due.users.get(proxyId)?.delete(runId);
  const { vmId } = run.order;
  const ofVm = pool.due.runsOfVm.get(vmId);
  ofVm?.delete(runId);
  if (ofVm?.size === 0) pool.due.runsOfVm.delete(vmId);
  pool.runs.delete(runId);
}

/** Whoever was attached to the server that died has to be let go of before the disks are served again (libs/hypervisor, target-server.ts). */
function attachAgain(pool: Pool, runId: string): void {
  for (const proxyId of pool.runs.get(runId)?.at ?? []) {
    for (const attachment of pool.proxies.get(proxyId)?.attachments.values() ?? [])
      if (attachment.runId === runId) attachment.state = 'requested';
  }
}

function addProxy(pool: Pool, proxy: PooledProxy): void {
  pool.proxies.set(proxy.proxyId, proxy);
  if (proxy.kind === 'proxy') pool.proxyVms.set(proxy.proxyId, proxy);
}

/** When none of its disks is left there. */
function leaveProxy(pool: Pool, run: Run, { proxyId, attachments }: PooledProxy): void {
  const { runId, disks } = run.order;
  if (!disks.some(({ diskId }) => attachments.has(attachmentKey(runId, diskId)))) hasLeft(pool, run, proxyId);
}

function forgetProxy(pool: Pool, proxyId: string): void {
  for (const runId of pool.due.users.get(proxyId) ?? []) {
    withRun(pool, runId, (run) => {
      run.leaving.delete(proxyId);
      run.chosen?.delete(proxyId);
    });
  }
}

/** Its work was over; of one that is not known nobody can say so. */
const endsWell = (proxy: PooledProxy | undefined): boolean => proxy?.state === 'retiring' && !isSick(proxy);

/** What was interrupted because this proxy died is not held against the child job. */
function excuse(pool: Pool, proxyId: string): void {
  for (const runId of pool.due.users.get(proxyId) ?? []) {
    withRun(pool, runId, (run) => {
      for (const job of run.jobs.values()) {
        if (job.interruptedOn !== proxyId) continue;
        job.interruptedOn = undefined;
        job.interruptions -= 1;
        if (run.unexplained.has(job.childJobId)) countJobs(run.unexplained, job.childJobId, -1);
      }
    });
  }
}

/**
 * What the host's policy allows on top of what each run's own allows. Pure. A limit holds back what is new and takes nothing from what
 * runs, so lowering one never breaks a run; and what has its hold on disks needs nothing of those who have none yet, so nobody waits in a
 * ring.
 */
import type { HostEvent, Place, Pool, Run } from './pool-state.ts';

/**
 * By how much younger a run may be (its head start counted in) that takes what an older one cannot use yet. From there on everything
 * waits with the older one until there is enough for it: without that, runs that need one port each would for ever keep a run from
 * its two.
 */
export const OVERTAKING_MILLISECONDS_MAX = 15 * 60_000;

/** A run that has not taken its hold on disks, and needs leave to. An instant recovery does not: somebody stands without his VM. */
export const awaitsHold = (run: Run): boolean =>
  run.hold === 'none' && run.outcome === undefined && !run.paused;

/** How many more runs may take their hold. */
export function holdsLeft({ policy, due }: Pool): number {
  const runs = (policy.maxRuns ?? Number.POSITIVE_INFINITY) - due.working.size;
  const snapshots = (policy.maxOpenSnapshots ?? Number.POSITIVE_INFINITY) - due.holding.size;
  return Math.max(0, Math.min(runs, snapshots));
}

/** Those whose turn it is, as many as there is leave for. */
export function holdsNow(pool: Pool): HostEvent[] {
  const first: readonly Place[] = pool.due.beginning.slice(0, holdsLeft(pool));
  return first.flatMap(({ runId }) => {
    const run = pool.runs.get(runId);
    if (run === undefined) return [];
    const { hostId, vmId, purpose } = run.order;
    const type = purpose === 'backup' ? 'SnapshotRequested' : 'TargetRequested';
    return [{ type, data: { hostId, runId, vmId } }];
  });
}

/** Proxy VMs that may run for everybody together when this run asks for some. */
export const maxProxiesFor = ({ policy }: Pool, { order }: Run): number =>
  Math.min(order.maxProxiesPerHost, policy.maxProxies ?? Number.POSITIVE_INFINITY);

/**
 * Whether the VM may hold so many ports more, on top of those it holds and of those `taken` in this look. A VM that holds none may always:
 * a limit below what one child job needs would otherwise be a stop.
 */
export function vmMayHold(pool: Pool, { order }: Run, ports: number, taken = 0): boolean {
  const { maxPortsPerVm } = pool.policy;
  if (maxPortsPerVm === null) return true;
  const held = (pool.portsOfVm.get(order.vmId) ?? 0) + taken;
  return held === 0 || held + ports <= maxPortsPerVm;
}

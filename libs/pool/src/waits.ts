/**
 * What each run at a host waits for, in a sentence, where it stands in its line, and when it would start. Pure, and read by people: it says
 * of the pool what the decisions about it go by (limits.ts, choose-proxies.ts, lease-ports.ts).
 */
import type { Priority, Purpose } from '@backhaul/contracts';
import { startsIn } from './estimate.ts';
import { awaitsHold, maxProxiesFor, vmMayHold } from './limits.ts';
import { byTurn, placeOf } from './line.ts';
import { isInstant, type Pool, portsNeeded, proxiesOf, type Run } from './pool-state.ts';
import { awaitsProxies, stageOf } from './run-steps.ts';

export interface Wait {
  readonly runId: string;
  readonly vmId: string;
  readonly purpose: Purpose;
  readonly priority: Priority;
  readonly askedAt: string;
  readonly waitsFor: 'leave to begin' | 'proxies' | 'ports' | 'to be resumed';
  readonly because: string;
  /** From 1, of so many that wait for the same. */
  readonly place: number;
  readonly of: number;
  /** Null: nobody can say, and `estimate` says why. */
  readonly startsInSeconds: number | null;
  readonly estimate: string;
}

/** In the order in which they would start. What is being worked at (a snapshot that is taken, a proxy that boots) does not wait. */
export function waitsOf(pool: Pool): Wait[] {
  const runs = [...pool.runs.values()].sort((a, b) => byTurn(placeOf(a), placeOf(b)));
  const forPorts = runs.filter((run) => awaitsPorts(pool, run));
  const aheadOf = aheadAtProxies(pool, forPorts);
  const lines: readonly (readonly [Wait['waitsFor'], readonly Run[], (run: Run) => string])[] = [
    ['ports', forPorts, (run) => whyNoPorts(pool, run, aheadOf.get(run) ?? 0)],
    ['proxies', runs.filter((run) => awaitsProxies(pool, run)), (run) => whyNoProxies(pool, run)],
    ['leave to begin', runs.filter((run) => awaitsHold(run) && !isInstant(run)), () => whyNoLeave(pool)],
  ];
  const starts = startsIn(
    pool,
    lines.flatMap(([, line]) => line),
  );
  const waiting = lines.flatMap(([waitsFor, line, because]) =>
    line.map((run, index): Wait => {
      const { seconds, estimate } = starts(run);
      const standing = { place: index + 1, of: line.length, startsInSeconds: seconds, estimate };
      return { ...asked(run), waitsFor, because: because(run), ...standing };
    }),
  );
  return [...waiting, ...pausedOnes(runs)];
}

const asked = ({ order: { runId, vmId, purpose, priority, askedAt } }: Run) => ({
  ...{ runId, vmId, purpose, priority, askedAt },
});

/** They stand in no line: nobody can come before them or after. */
const pausedOnes = (runs: readonly Run[]): Wait[] =>
  runs
    .filter((run) => run.paused && run.outcome === undefined)
    .map((run) => ({
      ...asked(run),
      waitsFor: 'to be resumed',
      because: `it was paused${run.hold === 'none' ? ' before it began' : ', and keeps its point in time'}`,
      ...{ place: 1, of: 1, startsInSeconds: null },
      estimate: 'unknown: it goes on when somebody resumes it',
    }));

/** It has its proxies, and none of its child jobs has a port. */
const awaitsPorts = (pool: Pool, run: Run): boolean =>
  run.announced &&
  run.leased === 0 &&
  run.waiting.size > 0 &&
  stageOf(run) === 'connecting' &&
  !awaitsProxies(pool, run);

/** Of each run of the line: those before it, at that of its proxies where they are fewest. */
function aheadAtProxies(pool: Pool, line: readonly Run[]): Map<Run, number> {
  const atProxy = new Map<string, number>();
  const ahead = new Map<Run, number>();
  for (const run of line) {
    const ids = proxiesOf(pool, run).map(({ proxyId }) => proxyId);
    const before = ids.map((id) => atProxy.get(id) ?? 0);
    ahead.set(
      run,
      before.reduce((least, each) => Math.min(least, each), before[0] ?? 0),
    );
    for (const [index, id] of ids.entries()) atProxy.set(id, (before[index] ?? 0) + 1);
  }
  return ahead;
}

function whyNoLeave({ policy, due, hostId }: Pool): string {
  const { maxRuns, maxOpenSnapshots } = policy;
  if (maxOpenSnapshots !== null && due.holding.size >= maxOpenSnapshots)
    return `${due.holding.size} of at most ${maxOpenSnapshots} snapshots are open on host ${hostId}`;
  if (maxRuns !== null && due.working.size >= maxRuns)
    return `${due.working.size} of at most ${maxRuns} runs are at work on host ${hostId}`;
  return 'it is about to begin';
}

function whyNoProxies(pool: Pool, run: Run): string {
  const there = [...pool.proxyVms.values()].filter(({ state }) => state !== 'lost');
  const most = maxProxiesFor(pool, run);
  const room = there
    .filter(({ state }) => state === 'active' || state === 'requested')
    .reduce((sum, { maxDisks, attachments }) => sum + Math.max(0, maxDisks - attachments.size), 0);
  const up = `${there.length} of at most ${most} proxies run on host ${pool.hostId}`;
  if (there.length < most) return `its proxies are about to be chosen: ${up}`;
  if (room === 0) return `${up}, and none has room for another disk`;
  return `${up}, with room for ${room} more disks; none that is left has what this run needs, or those before it come first`;
}

function whyNoPorts(pool: Pool, run: Run, ahead: number): string {
  const proxies = proxiesOf(pool, run);
  const [first] = proxies;
  if (first === undefined) return 'none of its proxies is up';
  const ports = portsNeeded(run, first);
  if (!vmMayHold(pool, run, ports))
    return `vm ${run.order.vmId} holds ${pool.portsOfVm.get(run.order.vmId) ?? 0} of at most ${pool.policy.maxPortsPerVm} ports in other runs`;
  const all = proxies.reduce((sum, proxy) => sum + proxy.ports.length, 0);
  const held = proxies.reduce((sum, proxy) => sum + proxy.holders.size, 0);
  return `${held} of ${all} ports of its proxies are held, it needs ${ports}, and ${ahead} ${ahead === 1 ? 'run that has' : 'runs that have'} none ${ahead === 1 ? 'comes' : 'come'} before it`;
}

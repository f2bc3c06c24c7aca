/**
 * What is to be done next at one host, derived from the pool alone: nothing is remembered between calls, so after a crash
 * the work goes on where the events stand. Pure. What is looked at is what is due (due.ts), not all that is open; here it is put in its order.
 * What one run asks for is decided in run-steps.ts, what becomes of a proxy in proxy-steps.ts, and what one takes from another in limits.ts,
 * choose-proxies.ts and lease-ports.ts.
 *
 * - A decision becomes events at once (choose proxies, lease ports, declare a run closed).
 * - An action is done at the hypervisor and confirmed by an event afterwards. Every action can be repeated safely, because
 *   the host finds by id what an earlier try has made; each was announced by a `...Requested` event before.
 */
import type { Action } from './actions.ts';
import { type Claims, chooseProxies, missingAttachments, noClaims } from './choose-proxies.ts';
import { dated } from './dated.ts';
import { leasesNow } from './lease-ports.ts';
import { holdsNow, OVERTAKING_MILLISECONDS_MAX } from './limits.ts';
import { byTurn, placeOf } from './line.ts';
import type { HostEvent, Pool, Run } from './pool-state.ts';
import { proxySteps } from './proxy-steps.ts';
import { drainingNow } from './recycling.ts';
import { stepsOf } from './run-steps.ts';

/** `now` in milliseconds since the epoch: only idle time depends on it, and the times that events carry. */
export const decisionsNow = (pool: Pool, now: number): HostEvent[] =>
  dated(undatedDecisions(pool, now), new Date(now).toISOString());

function undatedDecisions(pool: Pool, now: number): HostEvent[] {
  const { due } = pool;
  // First and alone: what is chosen below must not be what is over.
  const draining = drainingNow(pool, now);
  if (draining.length > 0) return draining;
  const decisions: HostEvent[] = [];
  for (const run of runsOf(pool, due.deciding)) decisions.push(...stepsOf(pool, run).decisions);
  decisions.push(...holdsNow(pool));
  // Runs under way come before those that begin, and then by their turns: what one takes the next cannot have.
  const claims = noClaims();
  const lacking = [...runsOf(pool, due.lacking)].sort((a, b) => byTurn(placeOf(a), placeOf(b)));
  for (const run of lacking) decisions.push(...missingAttachments(pool, run, claims));
  decisions.push(...choices(pool, claims));
  for (const proxyId of due.tending) {
    const proxy = pool.proxyVms.get(proxyId);
    if (proxy !== undefined && claims.disksAt(proxyId) === 0)
      decisions.push(...proxySteps(pool, proxy, now).decisions);
  }
  // Leases come last: they see the pool before this pass's decisions, and none of those frees or takes a port.
  decisions.push(...leasesNow(pool));
  return decisions;
}

/**
 * Everything to be done at the host, one by one, so that who takes a few pays for a few. What gives back comes before what goes
 * on, and that before what begins: under a flood of runs the first ones end, instead of all of them starting.
 */
export function* dueActions(pool: Pool): Generator<Action> {
  const { tending, acting } = pool.due;
  for (const proxyId of tending) {
    const proxy = pool.proxyVms.get(proxyId);
    if (proxy !== undefined) yield* proxySteps(pool, proxy, 0).actions;
  }
  for (const stage of [acting.ending, acting.pausing, acting.connecting, acting.beginning])
    for (const { runId } of stage) {
      const run = pool.runs.get(runId);
      if (run !== undefined) yield* stepsOf(pool, run).actions;
    }
}

function* runsOf(pool: Pool, ids: Iterable<string>): Generator<Run> {
  for (const id of ids) {
    const run = pool.runs.get(id);
    if (run !== undefined) yield run;
  }
}

/**
 * Where one finds no proxy nobody behind it with the same needs does: the line waits until the next look. Those with other needs may
 * overtake it for a while (limits.ts); then they wait with it, until proxies that it cannot use are idle and make room for some it can.
 */
function choices(pool: Pool, claims: Claims): HostEvent[] {
  const decisions: HostEvent[] = [];
  const lines = [...pool.due.choosing.values()].map((line) => ({ line, at: 0 }));
  let closedAfter = Number.POSITIVE_INFINITY;
  for (;;) {
    const [first] = lines
      .flatMap((each) => {
        const place = each.line[each.at];
        return place === undefined ? [] : [{ each, place }];
      })
      .sort((a, b) => byTurn(a.place, b.place));
    if (first === undefined || first.place.turn > closedAfter) return decisions;
    const { each, place } = first;
    const run = pool.runs.get(place.runId);
    const chosen = run === undefined ? [] : chooseProxies(pool, run, claims);
    decisions.push(...chosen);
    if (chosen.length > 0) each.at += 1;
    else {
      each.at = each.line.length;
      closedAfter = Math.min(closedAfter, place.turn + OVERTAKING_MILLISECONDS_MAX);
    }
  }
}

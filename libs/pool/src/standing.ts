/**
 * How each proxy stands for a choice, with what earlier choices of the same pass have taken of it and the pool does not show yet. What
 * does not depend on the run that chooses is found once a pass: there may be thousands of runs, and hundreds of proxies.
 */
import type { Pool, PooledProxy, Run } from './pool-state.ts';
import type { Figures } from './rank-proxies.ts';
import type { Speed } from './throughput.ts';

interface Standing {
  readonly runs: ReadonlySet<string>;
  /** Ports wanted by runs that have chosen it and hold none yet. */
  readonly portsSpokenFor: number;
}

/** What one pass has claimed: room on proxies, ports to be, and proxies to come. */
export class Claims {
  readonly coming: PooledProxy[] = [];
  readonly #disks = new Map<string, number>();
  readonly #runs = new Map<string, Map<string, number>>();
  readonly #standing = new Map<string, Standing>();

  attach(proxyId: string, runId: string, ports: number): void {
    this.#disks.set(proxyId, this.disksAt(proxyId) + 1);
    const runs = this.#runs.get(proxyId) ?? new Map<string, number>();
    this.#runs.set(proxyId, runs.set(runId, ports));
  }

  disksAt(proxyId: string): number {
    return this.#disks.get(proxyId) ?? 0;
  }

  runsAt(proxyId: string): ReadonlyMap<string, number> {
    return this.#runs.get(proxyId) ?? new Map();
  }

  standingOf(pool: Pool, proxy: PooledProxy): Standing {
    let standing = this.#standing.get(proxy.proxyId);
    if (standing === undefined) {
      standing = standingOf(pool, proxy);
      this.#standing.set(proxy.proxyId, standing);
    }
    return standing;
  }
}
export const noClaims = (): Claims => new Claims();

function standingOf(pool: Pool, proxy: PooledProxy): Standing {
  const runs = new Set<string>();
  for (const { runId } of proxy.attachments.values()) runs.add(runId);
  let portsSpokenFor = 0;
  for (const runId of runs) {
    const run = pool.runs.get(runId);
    if (run !== undefined && run.outcome === undefined && run.leased === 0 && run.waiting.size > 0)
      portsSpokenFor += run.order.portsPerChildJob;
  }
  return { runs, portsSpokenFor };
}

export const portsOf = ({ state, ports, portsAsked }: PooledProxy): number =>
  state === 'requested' ? portsAsked : ports.length;

/** Disks that it can hold at once: what the policy says, as far as such a proxy can. */
export const sessionsOf = ({ maxDisks, characteristics }: PooledProxy): number =>
  Math.min(maxDisks, characteristics?.sessionsMax ?? maxDisks);

export const roomOf = (proxy: PooledProxy, claims: Claims): number =>
  sessionsOf(proxy) - proxy.attachments.size - claims.disksAt(proxy.proxyId);

export function figuresOf(
  pool: Pool,
  run: Run,
  proxy: PooledProxy,
  claims: Claims,
  speed: Speed | undefined,
): Figures {
  const { runId } = run.order;
  const { proxyId, state, endsBecause, health, holders } = proxy;
  const standing = claims.standingOf(pool, proxy);
  const claimed = claims.runsAt(proxyId);
  const ports = portsOf(proxy);
  let load = holders.size + standing.portsSpokenFor;
  let otherRuns = standing.runs.size - (standing.runs.has(runId) ? 1 : 0);
  for (const [claimant, wanted] of claimed) {
    load += wanted;
    if (claimant !== runId && !standing.runs.has(claimant)) otherRuns += 1;
  }
  return {
    ...{ proxyId, state, endsBecause, ports, speed, otherRuns },
    freePorts: ports - holders.size,
    load: Math.min(load, ports),
    room: Math.max(0, roomOf(proxy, claims)),
    sessions: sessionsOf(proxy),
    health: health.state,
    healthDetail: health.detail,
  };
}

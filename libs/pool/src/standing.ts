/**
 * How each proxy stands for a choice, with what earlier choices of the same pass have taken of it and the pool does not show yet. Found
 * once a pass, and again for what was chosen: there may be thousands of runs that choose, and hundreds of proxies.
 */
import type { Pool, PooledProxy, Run } from './pool-state.ts';
import type { Figures } from './rank-proxies.ts';
import { whyNotShared } from './recycling.ts';

interface Standing {
  /** Those with disks at it. */
  readonly runs: ReadonlySet<string>;
  /** Ports wanted by runs that have chosen it and hold none yet. */
  readonly portsSpokenFor: number;
}

/** What one pass has claimed: room on proxies, ports to be, and proxies to come. */
export class Claims {
  readonly coming: PooledProxy[] = [];
  readonly #disks = new Map<string, number>();
  /** By proxy: the ports that each run will want. */
  readonly #runs = new Map<string, Map<string, number>>();
  readonly #standing = new Map<string, Standing>();
  readonly #figures = new Map<string, Figures>();

  attach(proxyId: string, runId: string, ports: number): void {
    this.#disks.set(proxyId, this.disksAt(proxyId) + 1);
    const runs = this.#runs.get(proxyId) ?? new Map<string, number>();
    this.#runs.set(proxyId, runs.set(runId, ports));
    this.#figures.delete(proxyId);
  }

  disksAt(proxyId: string): number {
    return this.#disks.get(proxyId) ?? 0;
  }

  figuresFor(pool: Pool, { order: { runId } }: Run, proxy: PooledProxy): Figures {
    const { proxyId } = proxy;
    const figures = this.#figures.get(proxyId) ?? this.#figuresOf(pool, proxy);
    this.#figures.set(proxyId, figures);
    // It does not disturb itself.
    const isThere = this.#standing.get(proxyId)?.runs.has(runId) === true;
    return isThere ? { ...figures, otherRuns: figures.otherRuns - 1 } : figures;
  }

  #figuresOf(pool: Pool, proxy: PooledProxy): Figures {
    const standing = this.#standing.get(proxy.proxyId) ?? standingOf(pool, proxy);
    this.#standing.set(proxy.proxyId, standing);
    const ports = portsOf(proxy);
    let load = proxy.holders.size + standing.portsSpokenFor;
    let runs = standing.runs.size;
    const claimed = this.#runs.get(proxy.proxyId) ?? new Map<string, number>();
    for (const [claimant, wanted] of claimed) {
      load += wanted;
      if (!standing.runs.has(claimant)) runs += 1;
    }
    return {
      proxyId: proxy.proxyId,
      state: proxy.state,
      endsBecause: proxy.endsBecause,
      ports,
      freePorts: ports - proxy.holders.size,
      load: Math.min(load, ports),
      room: Math.max(0, roomOf(proxy, this)),
      sessions: sessionsOf(proxy),
      health: proxy.health.state,
      healthDetail: proxy.health.detail,
      recycled: whyNotShared(pool, proxy, claimed.size),
      otherRuns: runs,
    };
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

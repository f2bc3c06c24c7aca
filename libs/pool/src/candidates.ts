/** What the record says of a choice: every proxy that was looked at, with its figures and why it was chosen or was not. Pure. */
import { CANDIDATES_MAX, type EventData, type ProxyCandidate } from '@backhaul/contracts';
import type { Pool, Run } from './pool-state.ts';
import type { Need, Ranked, Ranking } from './rank-proxies.ts';
import { portsOf, sessionsOf } from './standing.ts';

/** Where there are so many, the rest are counted: whoever asks why reads no further, and the events would be larger than all the rest. */
const TOLD_MIN = 16;

export interface Choice {
  readonly proxyId: string;
  readonly shared: boolean;
  readonly why: string;
  /** Disks it still has room for. */
  readonly room: number;
}

/** The chosen first, then those that this VM would rather have had, then the others in their order. */
export function candidatesOf(
  pool: Pool,
  run: Run,
  need: Need,
  ranking: Ranking,
  chosen: readonly Choice[],
): Pick<EventData<'ProxiesChosen'>, 'candidates' | 'candidatesLeftOut'> {
  const choices = new Map(chosen.map((choice) => [choice.proxyId, choice]));
  const preferred = preferredOf(pool, run, need);
  const ranked = [...ranking.whole, ...ranking.partial];
  // The one that would have had to go for another to be chosen.
  const last = ranked.findLast(({ figures }) => choices.has(figures.proxyId));
  const max = Math.min(CANDIDATES_MAX, Math.max(TOLD_MIN, chosen.length));
  const told: ProxyCandidate[] = [];
  const seen = new Set<string>();
  const tell = (proxyId: string, candidate: () => ProxyCandidate): void => {
    if (seen.has(proxyId)) return;
    seen.add(proxyId);
    if (told.length < max) told.push(candidate());
  };
  const tellRanked = (one: Ranked, index: number): void =>
    tell(one.figures.proxyId, () => ({
      ...shown(one, preferred),
      chosen: choices.has(one.figures.proxyId),
      rank: index + 1,
      reason: choices.get(one.figures.proxyId)?.why ?? whyNot(one, last, ranking),
    }));
  const tellExcluded = (one: Ranking['excluded'][number]): void =>
    tell(one.figures.proxyId, () => ({
      ...shown(one, preferred),
      chosen: false,
      rank: null,
      reason: one.reason,
    }));

  for (const [index, one] of ranked.entries()) if (choices.has(one.figures.proxyId)) tellRanked(one, index);
  for (const choice of chosen) if (!choice.shared) tell(choice.proxyId, () => started(run, choice));
  if (preferred.size > 0) {
    for (const [index, one] of ranked.entries())
      if (preferred.has(one.figures.proxyId)) tellRanked(one, index);
    for (const one of ranking.excluded) if (preferred.has(one.figures.proxyId)) tellExcluded(one);
  }
  for (const proxyId of preferred)
    if (!pool.proxyVms.has(proxyId)) tell(proxyId, () => gone(pool, run, proxyId));
  for (const [index, one] of ranked.entries()) tellRanked(one, index);
  for (const one of ranking.excluded) tellExcluded(one);
  return { candidates: told, candidatesLeftOut: seen.size - told.length };
}

/**
 * Those that can do what this VM needs, and were fastest for it before: as many as it asks for. One that is gone by now is among them
 * until others have served the VM.
 */
export function preferredOf(pool: Pool, run: Run, need: Need): ReadonlySet<string> {
  const known = [...(pool.throughput[run.order.purpose].vms.get(run.order.vmId)?.proxies ?? [])];
  const capable = known.filter(([proxyId]) => {
    const proxy = pool.proxyVms.get(proxyId);
    return proxy === undefined || (sessionsOf(proxy) >= need.disks && portsOf(proxy) >= need.ports);
  });
  const fastest = capable.sort(([a, x], [b, y]) => y.bytesPerSecond - x.bytesPerSecond || (a < b ? -1 : 1));
  return new Set(fastest.slice(0, Math.max(1, run.order.proxies)).map(([proxyId]) => proxyId));
}

/** One that could have served, and does not. */
function whyNot(one: Ranked, last: Ranked | undefined, ranking: Ranking): string {
  if (last === undefined) return 'one that can hold all that it is given was started instead';
  return `outranked: ${ranking.outrankedBy(one, last)}`;
}

const shown = (
  { figures: { endsBecause: _, healthDetail: __, ...figures }, speed }: Ranked,
  preferred: ReadonlySet<string>,
) => ({
  ...figures,
  // A mean that stands for what is not known is no figure of this proxy.
  bytesPerSecond: speed?.from === undefined ? null : speed.bytesPerSecond,
  knownFrom: speed?.from ?? null,
  preferred: preferred.has(figures.proxyId),
});

const started = (run: Run, { proxyId, why }: Choice): ProxyCandidate => ({
  proxyId,
  state: 'new',
  ports: run.order.portsPerProxy,
  freePorts: run.order.portsPerProxy,
  load: 0,
  room: run.order.maxDisksPerProxy,
  sessions: run.order.maxDisksPerProxy,
  health: 'good',
  ...{ bytesPerSecond: null, knownFrom: null, otherRuns: 0, preferred: false, chosen: true, rank: null },
  reason: why,
});

const gone = (pool: Pool, run: Run, proxyId: string): ProxyCandidate => ({
  proxyId,
  state: 'gone',
  ...{ ports: 0, freePorts: 0, load: 0, room: 0, sessions: 0, health: 'good', otherRuns: 0 },
  bytesPerSecond:
    pool.throughput[run.order.purpose].vms.get(run.order.vmId)?.proxies.get(proxyId)?.bytesPerSecond ?? null,
  ...{ knownFrom: 'vm', preferred: true, chosen: false, rank: null },
  reason: `gone: ${pool.gone.get(proxyId) ?? 'ended long ago'}`,
});

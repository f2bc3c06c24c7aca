/**
 * Which proxies a run should have, best first, and what put each behind the others. Pure, and total: two proxies never stand in one place,
 * so the same figures give the same order.
 *
 * What can serve at all comes first: up or coming up, with the ports that one child job needs, room for a disk, and not sick. Of those,
 * in this order: one that can hold all the disks it would be given; good health before degraded; a port free for a child job now before
 * none; throughput for this VM; ports left; few other runs; the id. Throughput is compared by classes of a third, because measures of
 * equal machines differ by so much, and what else is known of them should then decide.
 */
import type { HealthState } from '@backhaul/contracts';
import { formatBytes } from '@backhaul/kernel';
import type { Speed } from './throughput.ts';

export interface Figures {
  readonly proxyId: string;
  readonly state: 'active' | 'requested' | 'retiring' | 'lost';
  /** Why it is retiring or lost. */
  readonly endsBecause: string;
  readonly ports: number;
  readonly freePorts: number;
  /** Ports that are taken, or that runs which have chosen it will take. */
  readonly load: number;
  readonly room: number;
  readonly sessions: number;
  readonly health: HealthState;
  readonly healthDetail: string;
  readonly speed: Speed | undefined;
  readonly otherRuns: number;
}

/** What a run needs of each of its proxies: ports for one child job, and hot-adds for its share of the disks. */
export interface Need {
  readonly ports: number;
  readonly disks: number;
}

export interface Ranking {
  /** Those that can hold all that they would be given, and behind them those that cannot. */
  readonly whole: readonly Figures[];
  readonly partial: readonly Figures[];
  /** What cannot serve, and why not. */
  readonly excluded: readonly { readonly figures: Figures; readonly reason: string }[];
  /** Why `loser` stands behind `winner`. */
  outrankedBy(loser: Figures, winner: Figures): string;
}

/** A measure, lower is better, and what it means that one proxy lost to another by it. */
interface Criterion {
  readonly of: (figures: Figures) => number;
  readonly lost: (loser: Figures, winner: Figures) => string;
}

const HEALTH_ORDER: Readonly<Record<HealthState, number>> = { good: 0, degraded: 1, sick: 2 };
const SPEED_CLASS = Math.log(4 / 3);

export function rankProxies(all: readonly Figures[], need: Need): Ranking {
  const excluded: { figures: Figures; reason: string }[] = [];
  const usable: Figures[] = [];
  for (const figures of all) {
    const reason = whyUnusable(figures, need);
    if (reason === undefined) usable.push(figures);
    else excluded.push({ figures, reason });
  }
  const criteria = criteriaFor(usable, need);
  const measured = usable.map((figures) => ({ figures, measures: criteria.map(({ of }) => of(figures)) }));
  measured.sort((a, b) => {
    const at = firstDifference(a.measures, b.measures);
    if (at === undefined) return a.figures.proxyId < b.figures.proxyId ? -1 : 1;
    return (a.measures[at] ?? 0) - (b.measures[at] ?? 0);
  });
  excluded.sort((a, b) => (a.figures.proxyId < b.figures.proxyId ? -1 : 1));
  const ranked = measured.map(({ figures }) => figures);
  return {
    whole: ranked.filter((figures) => holdsAll(figures, need)),
    partial: ranked.filter((figures) => !holdsAll(figures, need)),
    excluded,
    outrankedBy(loser, winner) {
      const criterion = criteria.find(({ of }) => of(loser) !== of(winner));
      return criterion?.lost(loser, winner) ?? `equal to ${winner.proxyId}, which comes first by its name`;
    },
  };
}

/** Undefined when it can serve. */
function whyUnusable(figures: Figures, need: Need): string | undefined {
  const { state, ports, room, sessions, health, healthDetail, endsBecause } = figures;
  if (state === 'lost') return `lost: ${endsBecause}`;
  if (state === 'retiring') return `it is being ended: ${endsBecause}`;
  if (health === 'sick') return `sick: ${healthDetail}`;
  if (ports < need.ports) return `too few ports: ${ports} of the ${need.ports} that a child job needs`;
  if (room <= 0) return `no room: ${sessions} of ${sessions} disks`;
  return undefined;
}

const holdsAll = ({ room }: Figures, need: Need): boolean => room >= need.disks;

function criteriaFor(usable: readonly Figures[], need: Need): Criterion[] {
  const fastest = Math.max(0, ...usable.map(({ speed }) => speed?.bytesPerSecond ?? 0));
  return [
    {
      of: (figures) => (holdsAll(figures, need) ? 0 : 1),
      lost: ({ room }) => `room for ${room} of the ${need.disks} disks that it would be given`,
    },
    {
      of: ({ health }) => HEALTH_ORDER[health],
      lost: ({ health, healthDetail }) => `${health}: ${healthDetail}`,
    },
    {
      of: ({ freePorts }) => (freePorts >= need.ports ? 0 : 1),
      lost: ({ ports, freePorts }) => `busy: ${ports - freePorts} of ${ports} ports taken`,
    },
    { of: ({ speed }) => speedClass(speed, fastest), lost: slower },
    {
      of: ({ ports, load }) => load - ports,
      lost: (loser, winner) => `more loaded: ports left ${portsLeft(loser)} against ${portsLeft(winner)}`,
    },
    {
      of: ({ otherRuns }) => otherRuns,
      lost: (loser, winner) => `it would disturb more: ${runs(loser)} on it against ${winner.otherRuns}`,
    },
  ];
}

/** 0 for all that are about as fast as the fastest; one more for every third that is missing to that. */
const speedClass = (speed: Speed | undefined, fastest: number): number =>
  speed === undefined || fastest === 0
    ? 0
    : Math.floor(Math.log(fastest / Math.max(1, speed.bytesPerSecond)) / SPEED_CLASS + 1e-9);

function slower(loser: Figures, winner: Figures): string {
  const against = `${perSecond(loser)} against ${perSecond(winner)}`;
  switch (loser.speed?.from) {
    case 'vm':
      return `slower for this VM: ${against}`;
    case 'storage':
      return `slower on this storage: ${against}`;
    case 'proxy':
      return `slower for other VMs: ${against}`;
    default:
      return `nothing known of it, so taken for average: ${against}`;
  }
}

export const perSecond = ({ speed }: Pick<Figures, 'speed'>): string =>
  speed === undefined ? 'unknown' : `${formatBytes(Math.round(speed.bytesPerSecond))}/s`;

const portsLeft = ({ ports, load }: Figures): number => Math.max(0, ports - load);
const runs = ({ otherRuns }: Figures): string => `${otherRuns} other ${otherRuns === 1 ? 'run' : 'runs'}`;

function firstDifference(a: readonly number[], b: readonly number[]): number | undefined {
  const at = a.findIndex((measure, index) => measure !== b[index]);
  return at === -1 ? undefined : at;
}

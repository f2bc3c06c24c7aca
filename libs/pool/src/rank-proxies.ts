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
  /** Why it is given to no run any more, where it is not. */
  readonly recycled?: string | undefined;
  readonly otherRuns: number;
}

/** A proxy as one run sees it. */
export interface Ranked {
  readonly figures: Figures;
  readonly speed: Speed | undefined;
}

/** What a run needs of each of its proxies: ports for one child job, and hot-adds for its share of the disks. */
export interface Need {
  readonly ports: number;
  readonly disks: number;
}

export interface Ranking {
  /** Those that can hold all that they would be given, and behind them those that cannot. */
  readonly whole: readonly Ranked[];
  readonly partial: readonly Ranked[];
  /** What cannot serve, and why not. */
  readonly excluded: readonly (Ranked & { readonly reason: string })[];
  /** Why `loser` stands behind `winner`. */
  outrankedBy(loser: Ranked, winner: Ranked): string;
}

/** In this order. Of each criterion a whole number from 0 to below its bound, lower is better. */
const CRITERIA = ['holding', 'health', 'busy', 'speed', 'load', 'disturbance'] as const;
type Measures = Readonly<Record<(typeof CRITERIA)[number], number>>;
const BOUNDS: Measures = { holding: 2, health: 3, busy: 2, speed: 256, load: 256, disturbance: 4096 };

const HEALTH_ORDER: Readonly<Record<HealthState, number>> = { good: 0, degraded: 1, sick: 2 };
const SPEED_CLASS = Math.log(4 / 3);

export function rankProxies(
  all: readonly Figures[],
  need: Need,
  speedOf: (proxyId: string) => Speed | undefined,
): Ranking {
  const excluded: (Ranked & { reason: string })[] = [];
  const usable: Ranked[] = [];
  let fastest = 0;
  for (const figures of all) {
    const speed = speedOf(figures.proxyId);
    const reason = whyUnusable(figures, need);
    if (reason !== undefined) excluded.push({ figures, speed, reason });
    else {
      usable.push({ figures, speed });
      fastest = Math.max(fastest, speed?.bytesPerSecond ?? 0);
    }
  }
  const ranked = usable
    .map((one) => ({ one, place: placeOf(measuresOf(one, need, fastest)) }))
    .sort((a, b) => a.place - b.place || (a.one.figures.proxyId < b.one.figures.proxyId ? -1 : 1))
    .map(({ one }) => one);
  const firstPartial = ranked.findIndex(({ figures }) => figures.room < need.disks);
  const wholes = firstPartial === -1 ? ranked.length : firstPartial;
  return {
    whole: ranked.slice(0, wholes),
    partial: ranked.slice(wholes),
    excluded: excluded.sort((a, b) => (a.figures.proxyId < b.figures.proxyId ? -1 : 1)),
    outrankedBy: (loser, winner) => {
      const [a, b] = [measuresOf(loser, need, fastest), measuresOf(winner, need, fastest)];
      const criterion = CRITERIA.find((each) => a[each] !== b[each]);
      return criterion === undefined
        ? `equal to ${winner.figures.proxyId}, which comes first by its name`
        : LOST[criterion](loser, winner, need);
    },
  };
}

const measuresOf = ({ figures, speed }: Ranked, need: Need, fastest: number): Measures => ({
  holding: figures.room >= need.disks ? 0 : 1,
  health: HEALTH_ORDER[figures.health],
  busy: figures.freePorts >= need.ports ? 0 : 1,
  speed: bounded(speedClass(speed, fastest), BOUNDS.speed),
  load: bounded(BOUNDS.load - 1 - portsLeft(figures), BOUNDS.load),
  disturbance: bounded(figures.otherRuns, BOUNDS.disturbance),
});

const bounded = (value: number, bound: number): number => Math.max(0, Math.min(value, bound - 1));

/** All measures as one number, the first counting most: hundreds of proxies are sorted for each of thousands of runs. */
function placeOf(measures: Measures): number {
  let place = 0;
  for (const criterion of CRITERIA) place = place * BOUNDS[criterion] + measures[criterion];
  return place;
}

/** Undefined when it can serve. */
function whyUnusable(figures: Figures, need: Need): string | undefined {
  const { state, ports, room, sessions, health, healthDetail, endsBecause } = figures;
  if (state === 'lost') return `lost: ${endsBecause}`;
  if (state === 'retiring') return `it is being ended: ${endsBecause}`;
  if (figures.recycled !== undefined) return figures.recycled;
  if (health === 'sick') return `sick: ${healthDetail}`;
  if (ports < need.ports) return `too few ports: ${ports} of the ${need.ports} that a child job needs`;
  if (room <= 0) return `no room: ${sessions} of ${sessions} disks`;
  return undefined;
}

type Words = (loser: Ranked, winner: Ranked, need: Need) => string;
const LOST: Readonly<Record<(typeof CRITERIA)[number], Words>> = {
  holding: ({ figures }, _, need) =>
    `room for ${figures.room} of the ${need.disks} disks that it would be given`,
  health: ({ figures }) => `${figures.health}: ${figures.healthDetail}`,
  busy: ({ figures: { ports, freePorts } }) => `busy: ${ports - freePorts} of ${ports} ports taken`,
  speed: slower,
  load: (loser, winner) =>
    `more loaded: ports left ${portsLeft(loser.figures)} against ${portsLeft(winner.figures)}`,
  disturbance: (loser, winner) =>
    `it would disturb more: ${runs(loser)} on it against ${winner.figures.otherRuns}`,
};

/** 0 for all that are about as fast as the fastest; one more for every third that is missing to that. */
const speedClass = (speed: Speed | undefined, fastest: number): number =>
  speed === undefined || fastest === 0
    ? 0
    : Math.floor(Math.log(fastest / Math.max(1, speed.bytesPerSecond)) / SPEED_CLASS + 1e-9);

function slower(loser: Ranked, winner: Ranked): string {
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

export const perSecond = ({ speed }: Pick<Ranked, 'speed'>): string =>
  speed === undefined ? 'unknown' : `${formatBytes(Math.round(speed.bytesPerSecond))}/s`;

const portsLeft = ({ ports, load }: Figures): number => Math.max(0, ports - load);
const runs = ({ figures: { otherRuns } }: Ranked): string =>
  `${otherRuns} other ${otherRuns === 1 ? 'run' : 'runs'}`;

/**
 * All hosts of a source under each of the policies that are compared. Hosts share nothing, so they are simulated one after the other, and what
 * is kept of each is its part of the sums: memory does not grow with the fleet, but for two numbers a backup.
 * The same source and seed give the same comparison, to the last digit.
 */
import { Chance } from './chance.ts';
import { simulateHost } from './simulate-host.ts';
import type { Source } from './source.ts';
import { type PolicyOutcome, Tally } from './tally.ts';
import type { Workload } from './workload.ts';

export interface Comparison {
  readonly start: string;
  readonly hours: number;
  readonly seed: number;
  readonly hosts: number;
  readonly vms: number;
  readonly notes: readonly string[];
  readonly outcomes: readonly PolicyOutcome[];
}

export interface Progress {
  readonly policy: string;
  readonly hostsDone: number;
  readonly hosts: number;
}

const HOUR_MILLISECONDS = 3_600_000;
/** Averages are over stretches of this part of the time that requests come in: five minutes of a day. */
const STRETCHES = 288;
/** What is open when requests end is worked off, for as long again at the most, and for an hour at least. */
const worksOffHours = (hours: number): number => Math.max(1, hours);

export const periodOf = ({ start, hours }: Source) => {
  const end = start + hours * HOUR_MILLISECONDS;
  const latest = end + worksOffHours(hours) * HOUR_MILLISECONDS;
  return { start, end, latest, bucketMilliseconds: Math.max(1000, Math.round((end - start) / STRETCHES)) };
};

/** Yields after each host, so that whoever waits can say how far it is, or stop. */
export function* simulate(source: Source, seed: number): Generator<Progress, Comparison> {
  const { start, hours, hosts, vms, notes } = source;
  const period = periodOf(source);
  const chance = new Chance(seed);
  const outcomes: PolicyOutcome[] = [];
  for (const policy of source.policies) {
    const tally = new Tally(policy, period.bucketMilliseconds, period.latest);
    let hostsDone = 0;
    for (const workload of source.workloads(policy)) {
      tally.host(simulateHost(workload, period, chance, tally));
      hostsDone += 1;
      yield { policy, hostsDone, hosts };
    }
    outcomes.push(tally.outcome(start));
  }
  return { start: new Date(start).toISOString(), hours, seed, hosts, vms, notes, outcomes };
}

/** Without looking at how far it is. */
export function simulated(source: Source, seed: number): Comparison {
  const steps = simulate(source, seed);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** Every event of one host's stream, with its instant. */
export function simulatedStory(
  source: Source,
  workload: Workload,
): { type: string; data: object; at: number }[] {
  const story: { type: string; data: object; at: number }[] = [];
  simulateHost(workload, periodOf(source), new Chance(1), {
    result: () => undefined,
    event: ({ type, data }, at) => story.push({ type, data, at }),
  });
  return story;
}

/**
 * A whole fleet under each of the policies that are compared. Hosts share nothing, so they are simulated one after the other, and what is
 * kept of each is its part of the sums: memory does not grow with the fleet, but for two numbers a backup.
 * The same fleet, seed and hours give the same comparison, to the last digit.
 */
import { ok, type Result, refuse } from '@backhaul/kernel';
import { Chance } from './chance.ts';
import { calendarOf, hostsOf, workloadOf } from './described-workload.ts';
import type { Fleet } from './fleet.ts';
import { simulateHost } from './simulate-host.ts';
import { type PolicyOutcome, Tally } from './tally.ts';

export interface SimulationOptions {
  readonly seed: number;
  /** For so long requests come due. What is open then is worked off, for as long again at the most. */
  readonly hours: number;
  /** All of the fleet's, unless some are named. */
  readonly policies?: readonly string[];
}

export interface Comparison {
  readonly start: string;
  readonly hours: number;
  readonly seed: number;
  readonly hosts: number;
  readonly vms: number;
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

/** Yields after each host, so that whoever waits can say how far it is, or stop. */
export function* simulate(fleet: Fleet, options: SimulationOptions): Generator<Progress, Result<Comparison>> {
  const { seed, hours } = options;
  const names = options.policies ?? Object.keys(fleet.policies);
  for (const name of names) if (!(name in fleet.policies)) return refuse(unknownPolicy(name, fleet));
  const start = Date.parse(fleet.start);
  const end = start + hours * HOUR_MILLISECONDS;
  const latest = end + hours * HOUR_MILLISECONDS;
  const calendar = calendarOf(fleet, start, end);
  if (!calendar.ok) return calendar;

  const chance = new Chance(seed);
  const bucketMilliseconds = Math.max(1000, Math.round((end - start) / STRETCHES));
  const period = { start, end, latest, bucketMilliseconds };
  const hosts = fleet.hosts.reduce((sum, { count }) => sum + count, 0);
  const outcomes: PolicyOutcome[] = [];
  for (const policy of names) {
    const tally = new Tally(policy, bucketMilliseconds, latest);
    let hostsDone = 0;
    for (const host of hostsOf(fleet)) {
      const ground = { start, end, calendar: calendar.value, chance };
      const workload = workloadOf(host, policy, fleet.policies[policy] ?? {}, ground);
      tally.host(simulateHost(workload, period, chance, tally));
      hostsDone += 1;
      yield { policy, hostsDone, hosts };
    }
    outcomes.push(tally.outcome(start));
  }
  const vms = fleet.vms.reduce((sum, { count }) => sum + count, 0);
  return ok({ start: fleet.start, hours, seed, hosts, vms, outcomes });
}

/** Without looking at how far it is. */
export function simulated(fleet: Fleet, options: SimulationOptions): Result<Comparison> {
  const steps = simulate(fleet, options);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

const unknownPolicy = (name: string, { policies }: Fleet) => ({
  code: 'UnknownPolicy',
  message: `The fleet describes no policy ${name}.`,
  wayOut: `Name one of those it describes: ${Object.keys(policies).join(', ')}.`,
});

/** A described fleet as something that can be simulated. */
import { ok, type Result, refuse } from '@backhaul/kernel';
import { Chance } from './chance.ts';
import { calendarOf, hostsOf, workloadOf } from './described-workload.ts';
import type { Fleet } from './fleet.ts';
import type { Source } from './source.ts';

export interface SourceOptions {
  readonly seed: number;
  /** For so long requests come due. */
  readonly hours: number;
  /** All that are described, unless some are named. */
  readonly policies?: readonly string[] | undefined;
}

export function describedSource(
  fleet: Fleet,
  { seed, hours, policies: named }: SourceOptions,
): Result<Source> {
  const policies = chosenPolicies(Object.keys(fleet.policies), named);
  if (!policies.ok) return policies;
  const start = Date.parse(fleet.start);
  const end = start + hours * 3_600_000;
  const calendar = calendarOf(fleet, start, end);
  if (!calendar.ok) return calendar;
  const ground = { start, end, calendar: calendar.value, chance: new Chance(seed) };
  return ok({
    ...{ start, hours, notes: [], policies: policies.value },
    hosts: fleet.hosts.reduce((sum, { count }) => sum + count, 0),
    vms: fleet.vms.reduce((sum, { count }) => sum + count, 0),
    *workloads(policy) {
      for (const host of hostsOf(fleet)) yield workloadOf(host, policy, fleet.policies[policy] ?? {}, ground);
    },
  });
}

export function chosenPolicies(
  described: readonly string[],
  named: readonly string[] = described,
): Result<readonly string[]> {
  const unknown = named.find((name) => !described.includes(name));
  if (unknown === undefined) return ok(named);
  return refuse({
    code: 'UnknownPolicy',
    message: `No policy ${unknown} is described.`,
    wayOut: `Name one of those that are: ${described.join(', ')}.`,
  });
}

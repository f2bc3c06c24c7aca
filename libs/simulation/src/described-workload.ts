/**
 * What each host of a described fleet is asked for, worked out host by host when it is that host's turn: a fleet of a hundred thousand VMs
 * is never there as a whole.
 */
import { defaultPolicy, noHostPolicy, type Policy } from '@backhaul/contracts';
import { ok, type Result } from '@backhaul/kernel';
import type { Chance } from './chance.ts';
import { type DescribedVm, inspectionOf } from './described-vm.ts';
import { dueTimes } from './due-times.ts';
import type {
  Fleet,
  HostDescription,
  PolicyDescription,
  ScheduleDescription,
  VmDescription,
} from './fleet.ts';
import type { BackupRequest, Since, Workload } from './workload.ts';

export interface DescribedHost {
  readonly hostId: string;
  readonly group: HostDescription;
  /** The groups of VMs that are dealt out to hosts like this one, and its place among those that they are dealt out to. */
  readonly vms: readonly { readonly group: VmDescription; readonly place: number; readonly places: number }[];
}

const memberOf = (name: string, number: number): string => name.replace('{n}', String(number));

export function* hostsOf({ hosts, vms }: Fleet): Generator<DescribedHost> {
  const firstPlace = new Map<VmDescription, number>();
  const places = new Map(
    vms.map((group) => [
      group,
      hosts.filter((host) => takesIn(host, group)).reduce((sum, { count }) => sum + count, 0),
    ]),
  );
  for (const host of hosts) {
    const groups = vms.filter((group) => takesIn(host, group));
    for (let number = 0; number < host.count; number += 1) {
      const dealt = groups.map((group) => ({
        group,
        place: (firstPlace.get(group) ?? 0) + number,
        places: places.get(group) ?? 1,
      }));
      yield { hostId: memberOf(host.name, number + 1), group: host, vms: dealt };
    }
    for (const group of groups) firstPlace.set(group, (firstPlace.get(group) ?? 0) + host.count);
  }
}

const takesIn = (host: HostDescription, { hosts }: VmDescription): boolean =>
  hosts === undefined || hosts.includes(host.name);

/** Due times of every schedule of the fleet, worked out once; refused when one cannot be read. */
export type Calendar = ReadonlyMap<ScheduleDescription, readonly number[]>;

export function calendarOf({ vms }: Fleet, start: number, end: number): Result<Calendar> {
  const calendar = new Map<ScheduleDescription, readonly number[]>();
  for (const schedule of vms.flatMap(({ schedules }) => schedules)) {
    const times = dueTimes(schedule, start, end);
    if (!times.ok) return times;
    calendar.set(schedule, times.value);
  }
  return ok(calendar);
}

export interface Ground {
  readonly start: number;
  readonly end: number;
  readonly calendar: Calendar;
  readonly chance: Chance;
}

export function workloadOf(
  { hostId, group: abilities, vms }: DescribedHost,
  policyId: string,
  { host: hostLimits, ...policy }: PolicyDescription,
  ground: Ground,
): Workload {
  const restorePoints = new Map<string, Since>();
  const requests: BackupRequest[] = [];
  for (const { group, place, places } of vms) {
    const said = { ...withoutUnsaid(policy), ...withoutUnsaid({ ...group.policy }) };
    const whole: Policy = { ...defaultPolicy, ...said, policyId } as Policy;
    for (let number = place; number < group.count; number += places) {
      const vm: DescribedVm = { hostId, vmId: memberOf(group.name, number + 1), group };
      if (group.restorePointAge !== null)
        restorePoints.set(vm.vmId, { backupId: 'before', takenAt: ground.start - group.restorePointAge });
      for (const schedule of group.schedules)
        requests.push(...requestsOf(vm, number, schedule, whole, ground));
    }
  }
  requests.sort((a, b) => a.at - b.at);
  const hostPolicy = { ...noHostPolicy, ...withoutUnsaid({ ...hostLimits }) };
  return { hostId, abilities, hostPolicy, restorePoints, requests };
}

/** What is not said must not hide what is said elsewhere. */
const withoutUnsaid = <Fields extends object>(fields: Fields): Said<Fields> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Said<Fields>;
type Said<Fields> = { [Field in keyof Fields]?: Exclude<Fields[Field], undefined> };

function requestsOf(
  vm: DescribedVm,
  number: number,
  schedule: ScheduleDescription,
  policy: Policy,
  { calendar, chance, end }: Ground,
): BackupRequest[] {
  const { kind, mode, spread, window } = schedule;
  const delay = Math.floor((spread * number) / vm.group.count);
  const scheduleId = `${vm.vmId} ${vm.group.schedules.indexOf(schedule)}`;
  return (calendar.get(schedule) ?? [])
    .map((due) => due + delay)
    .filter((at) => at < end)
    .map((at) => ({
      ...{ at, vmId: vm.vmId, scheduleId, kind, mode, policy, priority: policy.backupPriority },
      completeBy: window === undefined ? undefined : at + window,
      inspect: (since, now) => inspectionOf(vm, since, now, chance),
    }));
}

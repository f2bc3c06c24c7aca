/**
 * The description of a fleet, as an administrator writes it in YAML or JSON: what its hosts can do, which VMs there are and when they
 * are backed up, and the policies that are to be compared. Every field is checked, and one that is misspelt is refused and not taken for
 * its default.
 */
import { BackupKind, HostPolicyChanges, Instant, Name, Policy, TransportMode } from '@backhaul/contracts';
import { GiB, MiB, ok, parseBytes, type Result, refuse } from '@backhaul/kernel';
import { z } from 'zod';
import { Rate, Share, Size, Span } from './quantities.ts';

const seconds = z.number().nonnegative();
const count = z.int().positive();

/** `kvm-{n}` stands for kvm-1, kvm-2 and so on. */
const GroupName = z.string().refine((name) => Name.safeParse(name.replace('{n}', '1')).success, {
  error: 'must be 1 to 63 letters, digits, "-" or "_", with {n} in it for a number where there are several',
});

const grouped = { name: GroupName, count: count.default(1) };
const namesItsMembers = ({ name, count }: { name: string; count: number }): boolean =>
  count === 1 || name.includes('{n}');
const NAMES_ITS_MEMBERS = { error: 'needs {n} in its name, because count is more than 1', path: ['name'] };

/** How long a host takes, and how much it moves. Speeds are bytes per second. The times are what is usual for a hypervisor under load. */
export const HostDescription = z
  .strictObject({
    ...grouped,
    inspectSeconds: seconds.default(1),
    snapshotSeconds: seconds.default(5),
    /** From the last detach to the disk that runs on by itself. */
    releaseSeconds: seconds.default(10),
    proxyBootSeconds: seconds.default(30),
    proxyStopSeconds: seconds.default(5),
    attachSeconds: seconds.default(15),
    detachSeconds: seconds.default(5),
    directOpenSeconds: seconds.default(1),
    /** From a lease to its first byte. */
    childJobSeconds: seconds.default(0.5),
    /** From the last byte to the restore point. */
    manifestSeconds: seconds.default(1),
    /** Each of these times is more or less by so much, by chance. */
    variation: Share.default(0),
    portBytesPerSecond: Size.default(100 * MiB),
    proxyBytesPerSecond: Size.default(400 * MiB),
    /** Of one stream from the host's own export. */
    directBytesPerSecond: Size.default(60 * MiB),
    /** Of all that is read at the host together: its storage and its way to the repository. */
    bytesPerSecond: Size.default(1 * GiB),
    /** Actions that the host does at a time. */
    actionsAtOnce: count.default(16),
  })
  .refine(namesItsMembers, NAMES_ITS_MEMBERS);
export type HostDescription = z.infer<typeof HostDescription>;

export const DiskDescription = z.strictObject({
  name: Name,
  size: Size,
  used: Share.default(0.5),
  /** Of what is used. */
  changePerDay: Rate.default(0.03),
  /** Whether the disk's format can tell what changed: a raw one is read in full each time. */
  tracked: z.boolean().default(true),
});
export type DiskDescription = z.infer<typeof DiskDescription>;

export const ScheduleDescription = z.strictObject({
  /** Five or six fields, in the time zone named. */
  cron: z.string().min(1),
  timeZone: z.string().default('UTC'),
  kind: z.enum(['auto', ...BackupKind.options]).default('auto'),
  mode: z.enum(['auto', ...TransportMode.options]).default('auto'),
  /** The VMs of the group come due one after the other over this time. */
  spread: Span.prefault('0s'),
  /** A backup that is not there so long after it came due has missed its window. */
  window: Span.optional(),
});
export type ScheduleDescription = z.infer<typeof ScheduleDescription>;

/** Fields of a policy that hold bytes may be written with a unit. */
const withUnits = (value: unknown): unknown =>
  typeof value !== 'object' || value === null
    ? value
    : Object.fromEntries(
        Object.entries(value).map(([field, each]) => [
          field,
          /Bytes$|BytesPerSecond$/.test(field) && typeof each === 'string'
            ? (parseBytes(each) ?? each)
            : each,
        ]),
      );

/** Only what is said: a default here would override what is said elsewhere. */
const policyFields = Object.fromEntries(
  Object.entries(Policy.shape)
    .filter(([field]) => field !== 'policyId')
    .map(([field, shape]) => [field, shape.unwrap().optional()]),
);

/** Fields of a run's policy; those that are not said stay as they are. */
export type RunPolicyDescription = Partial<Omit<Policy, 'policyId'>>;
const RunPolicyDescription = z.preprocess(
  withUnits,
  z.strictObject(policyFields),
) as unknown as z.ZodType<RunPolicyDescription>;

/** And of what every host may carry. */
export type PolicyDescription = RunPolicyDescription & { readonly host?: HostPolicyChanges | undefined };
const PolicyDescription = z.preprocess(
  withUnits,
  z.strictObject({
    ...policyFields,
    host: z.preprocess(withUnits, HostPolicyChanges).optional(),
  }),
) as unknown as z.ZodType<PolicyDescription>;

export const PolicyDescriptions = z
  .record(Name, PolicyDescription)
  .refine((policies) => Object.keys(policies).length > 0, { error: 'needs at least one policy' });

export const VmDescription = z
  .strictObject({
    ...grouped,
    /** Names of groups of hosts, as they are written there; without it all hosts. The VMs are dealt out one by one. */
    hosts: z.array(z.string()).min(1).optional(),
    disks: z.array(DiskDescription).min(1),
    schedules: z.array(ScheduleDescription).default([]),
    /** What holds for these VMs whatever policy is looked at. */
    policy: RunPolicyDescription.optional(),
    /** Each VM has its disks larger or smaller by so much, and writes more or less by so much, by chance. */
    variation: Share.default(0),
    /** How old the newest restore point is at the start; `null`: there is none, and the first backup is a full. */
    restorePointAge: Span.nullable().prefault('24h'),
    /** How often a checkpoint turns out to be worth nothing, so that the disk is read in full. */
    trackingLost: Share.default(0),
  })
  .refine(namesItsMembers, NAMES_ITS_MEMBERS);
export type VmDescription = z.infer<typeof VmDescription>;

export const Fleet = z
  .strictObject({
    /** When the clock begins. */
    start: Instant.default('2026-01-05T00:00:00Z'),
    hosts: z.array(HostDescription).min(1),
    vms: z.array(VmDescription).min(1),
    /** By name: those that are compared. Without any, the default policy alone. */
    policies: PolicyDescriptions.default({ default: {} }),
  })
  .superRefine(({ hosts, vms }, context) => {
    const known = hosts.map(({ name }) => name);
    for (const [index, { hosts: named, name, disks }] of vms.entries()) {
      for (const host of named ?? [])
        if (!known.includes(host))
          context.addIssue({
            code: 'custom',
            path: ['vms', index, 'hosts'],
            message: `VMs ${name} are on hosts ${host}, which are not described; there are ${known.join(', ')}`,
          });
      for (const twice of twiceIn(disks.map((disk) => disk.name)))
        context.addIssue({
          code: 'custom',
          path: ['vms', index, 'disks'],
          message: `VMs ${name} have two disks ${twice}: give each its own name`,
        });
    }
    for (const [what, all] of [
      ['hosts', known],
      ['vms', vms.map(({ name }) => name)],
    ] as const)
      for (const twice of twiceIn(all))
        context.addIssue({
          code: 'custom',
          path: [what],
          message: `${twice} is there twice: give each its own name`,
        });
  });
export type Fleet = z.infer<typeof Fleet>;

const twiceIn = (names: readonly string[]): string[] =>
  names.filter((name, index) => names.indexOf(name) !== index);

/** The fleet that a parsed file describes, or every field that is wrong with it. */
export function readFleet(described: unknown): Result<Fleet> {
  const fleet = Fleet.safeParse(described);
  if (fleet.success) return ok(fleet.data);
  return refuse({
    code: 'InvalidFleet',
    message: `The fleet cannot be simulated as it is described:\n${z.prettifyError(fleet.error)}`,
    wayOut: 'Correct the fields named; docs/simulation.md lists every field there is.',
  });
}

/**
 * Owned by proxy-manager, in the stream `host-<hostId>`: what is known of proxies, and what a choice among them rested on. Bounded in volume:
 * a change is an event, and so is a summary when a run ends; a sample never is.
 */
import { z } from 'zod';
import { defineEvent, unchanged } from './define-event.ts';
import { namedByBackup, run } from './run-naming.ts';
import { Bytes, HostId, ProxyId, Purpose, TransportMode, VmId } from './vocabulary.ts';

/** `endpoint` is an NBD URI (nbd+unix:// or nbd://) without the export: every disk attached is an export of its own. */
export const Port = z.object({ port: z.int().nonnegative(), endpoint: z.string() });
export type Port = z.infer<typeof Port>;

/** What a proxy is, as far as its kind of host knows: null where nobody can say. Its ports are told beside it. */
export const ProxyCharacteristics = z.object({
  /** Disks that can be hot-added to it at once (its hot-add sessions). */
  sessionsMax: z.int().positive().nullable(),
  memoryBytes: Bytes.nullable(),
  processors: z.int().positive().nullable(),
  /** Tells one build of the appliance from another. */
  appliance: z.string().nullable(),
  accelerator: z.string().nullable(),
  /** Why with that one, for people; an earlier release did not say. */
  acceleratorBecause: z.string().nullable().optional(),
});
export type ProxyCharacteristics = z.infer<typeof ProxyCharacteristics>;

/** Version 2: `characteristics`. Version 3: in them why its accelerator. */
export const ProxyActivated = defineEvent(
  'host',
  'ProxyActivated',
  z.object({
    hostId: HostId,
    proxyId: ProxyId,
    ports: z.array(Port).min(1),
    characteristics: ProxyCharacteristics.optional(),
  }),
  [unchanged, unchanged],
);

/** `degraded`: it serves, and others are better. `sick`: it is given nothing new, and is ended when what it has is done. */
export const HealthState = z.enum(['good', 'degraded', 'sick']);
export type HealthState = z.infer<typeof HealthState>;

/** What kinds of host measure of their proxies, each what it honestly can. */
export const healthReadings = {
  /** Of what the guest has; what caches hold and would give back counts as available. */
  memoryAvailable: { name: 'memory available', unit: '%' },
  /** NBD servers in the proxy that ended by a signal which nobody sent them on purpose. */
  serverCrashes: { name: 'server crashes', unit: 'in a minute' },
  /** Ports at which no server can be brought up. */
  portsFailed: { name: 'ports failed', unit: '%' },
  /** Of the last minute. A server that waits for its disk counts as one that works. */
  load: { name: 'load', unit: 'per port' },
  /** How long the proxy took to answer the question how it is. */
  answer: { name: 'answer', unit: 'ms' },
} as const;

/** One thing that a host measures of a proxy. */
export const HealthReading = z.object({ name: z.string(), value: z.number(), unit: z.string() });
export type HealthReading = z.infer<typeof HealthReading>;

/** `limit`: what the value was held against; null where nothing is expected of it. */
export const HealthItem = HealthReading.extend({ limit: z.number().nullable(), state: HealthState });
export type HealthItem = z.infer<typeof HealthItem>;

/**
 * The judgement on a proxy is another than before, in two looks in a row. (`ProxyHealthObserved` is something else: the look after an
 * interruption, which asks whether the proxy is up.)
 */
export const ProxyHealthChanged = defineEvent(
  'host',
  'ProxyHealthChanged',
  z.object({
    hostId: HostId,
    proxyId: ProxyId,
    was: HealthState,
    health: HealthState,
    items: z.array(HealthItem),
    /** The items that decided it, in words. */
    detail: z.string(),
  }),
);

/**
 * What a run moved through one proxy, or (`direct-to-host`) past all of them: told once, when the run closes. Child jobs that completed
 * count, with the time in which they held their ports; what an interrupted attempt moved is not known here.
 */
export const ProxyThroughputObserved = defineEvent(
  'host',
  'ProxyThroughputObserved',
  z.object({
    ...run,
    vmId: VmId,
    purpose: Purpose,
    mode: TransportMode,
    proxyId: ProxyId,
    /** Where the disks lie, as the host tells; null where it does not. */
    storage: z.string().nullable(),
    childJobs: z.int().positive(),
    bytes: Bytes,
    portSeconds: z.number().nonnegative(),
  }),
);

/** One proxy in a choice: its figures at that moment, and why it was chosen or was not. */
export const ProxyCandidate = z.object({
  proxyId: ProxyId,
  /** `gone`: it has served the VM well, and there is no such proxy any more. `new`: it is started for this run. */
  state: z.enum(['active', 'requested', 'retiring', 'lost', 'gone', 'new']),
  ports: z.int().nonnegative(),
  freePorts: z.int().nonnegative(),
  /** Ports that are taken, or that runs which have chosen it will take. */
  load: z.int().nonnegative(),
  /** Disks that can still be hot-added to it, of so many at once. */
  room: z.int().nonnegative(),
  sessions: z.int().nonnegative(),
  health: HealthState,
  /** Bytes per second and port that this VM can expect of it; null where nothing is known. */
  bytesPerSecond: z.number().nonnegative().nullable(),
  /** What that rests on: runs of this VM through it, runs of VMs on the same storage, or all its runs. */
  knownFrom: z.enum(['vm', 'storage', 'proxy']).nullable(),
  otherRuns: z.int().nonnegative(),
  /** By its history with this VM it would have been chosen. */
  preferred: z.boolean(),
  chosen: z.boolean(),
  /** Its place among those that could serve; null for those that could not. */
  rank: z.int().positive().nullable(),
  reason: z.string(),
});
export type ProxyCandidate = z.infer<typeof ProxyCandidate>;

/** Of so many proxies a choice tells. */
export const CANDIDATES_MAX = 30;

/** When nothing was recorded of those that were not chosen. */
const withoutCandidates = (stored: unknown): unknown => ({
  ...(stored as object),
  candidates: [],
  candidatesLeftOut: 0,
});

/**
 * Which proxies serve the run, and why each: the only choice that is left to the host, because only its stream knows who
 * holds what at this moment. `shortfall` says why there are fewer than asked, when there are. Version 3: `candidates`, every proxy
 * that was looked at, best first, and how many more there were than are told of.
 */
export const ProxiesChosen = defineEvent(
  'host',
  'ProxiesChosen',
  z.object({
    ...run,
    asked: z.int().nonnegative(),
    proxies: z.array(z.object({ proxyId: ProxyId, shared: z.boolean(), why: z.string() })),
    shortfall: z.string().nullable(),
    candidates: z.array(ProxyCandidate).max(CANDIDATES_MAX),
    candidatesLeftOut: z.int().nonnegative(),
  }),
  [namedByBackup, withoutCandidates],
);

/**
 * What an administrator decides once and every plan obeys. The whole policy is copied into `BackupTriggered`, so a plan
 * can be re-derived years later whatever became of the policy since.
 */
import { z } from 'zod';
import { Priority } from './priority.ts';
import { Bytes, CHUNK_BYTES, PolicyId, TransportMode } from './vocabulary.ts';

const GiB = 1024 ** 3;
const count = z.int().nonnegative();

export const Policy = z.object({
  policyId: PolicyId.default('default'),
  /** The most data one child job reads. A multiple of the chunk size, so that no chunk belongs to two jobs. */
  childJobBytes: Bytes.refine((bytes) => bytes >= CHUNK_BYTES && bytes % CHUNK_BYTES === 0, {
    error: 'must be a multiple of 4 MiB, and at least 4 MiB',
  }).default(16 * GiB),
  /** Child jobs that one proxy VM may run at a time: one per core is usual. */
  maxChildJobsPerProxy: count.default(4),
  /** Ports that one proxy VM offers. */
  maxPortsPerProxy: count.default(4),
  /** Ports that one child job reads through at the same time. */
  portsPerChildJob: count.default(1),
  /** Disks that may be hot-added to one proxy VM at a time: 13 sessions are recommended in the field, 25 the most. */
  maxDisksPerProxy: z.int().positive().default(13),
  /** The most proxy VMs that one host may run for everybody together. */
  maxProxiesPerHost: count.default(8),
  /** Streams from the host's own export in direct-to-host mode. */
  maxDirectStreams: z.int().positive().default(2),
  /** A full of at least this many bytes goes through proxy VMs; a smaller one is not worth starting them. */
  fullThresholdBytes: Bytes.default(4 * GiB),
  /** The same for an incremental, where the bytes are the changed ones. */
  incrementalThresholdBytes: Bytes.default(2 * GiB),
  /** Data streams that write one virtual disk of a recovery at the same time. */
  maxStreamsPerDisk: count.default(2),
  /** Ports that one data stream of a recovery writes through. */
  portsPerStream: count.default(1),
  /** A recovery of at least this many bytes goes through proxy VMs. */
  recoveryThresholdBytes: Bytes.default(4 * GiB),
  /** `auto` follows the thresholds; a mode here is forced, and refused when it is not available. */
  mode: z.enum(['auto', ...TransportMode.options]).default('auto'),
  /** What to do when the chosen mode is not available: take the other one and say so, or refuse. Never silently. */
  whenModeUnavailable: z.enum(['use-other', 'refuse']).default('use-other'),
  /** A second backup of a VM whose backup still runs: waits for it, or is refused. */
  whenVmBusy: z.enum(['queue', 'refuse']).default('queue'),
  /** Where a backup under this policy stands in lines, unless its request says otherwise; and a recovery: somebody waits for that. */
  backupPriority: Priority.default('normal'),
  recoveryPriority: Priority.default('high'),
  /** How long a proxy without work stays up for the next backup. */
  proxyIdleSeconds: count.default(60),
  /** A proxy that is not ready by then has failed. */
  proxyActivationSeconds: z.int().positive().default(120),
  /** How often a child job is started before its backup fails. */
  maxAttemptsPerChildJob: z.int().positive().default(4),
});
export type Policy = z.infer<typeof Policy>;

export const defaultPolicy: Policy = Policy.parse({});

/** What a request names is changed, and the rest keeps its value: two who change two fields do not undo each other. */
export type PolicyChanges = { readonly [F in keyof Omit<Policy, 'policyId'>]?: Policy[F] | undefined };
const { policyId: _, ...fields } = Policy.shape;
export const PolicyChanges: z.ZodType<PolicyChanges> = z
  .strictObject(
    // A field that is not named has no default here.
    Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.unwrap().optional()])),
  )
  .transform((changes) => changes as PolicyChanges);

/** Upcaster of what holds a whole policy: fields that came later are as they are by default. */
export const withNewerPolicyFields = (stored: unknown): unknown => {
  const data = stored as { policy: object };
  return { ...data, policy: { ...defaultPolicy, ...data.policy } };
};

/** Upcaster of what was asked before there were priorities: all stood in line as they came. */
export const withPriority = (stored: unknown): unknown => ({
  ...(withNewerPolicyFields(stored) as object),
  priority: 'normal',
});

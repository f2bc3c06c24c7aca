/** The rows of the console's lists of recoveries and of their data streams (console-views.ts has the others). */
import { z } from 'zod';
import { Origin } from './backup-events.ts';
import { BackupOutcome, ChildJobState } from './console-views.ts';
import { Machine, Refusal, TransportMode } from './vocabulary.ts';

const count = z.int().nonnegative();
const position = z.int().nonnegative();
const instant = z.iso.datetime();

/** `alternative`: the newest older restore point of the same VM that is whole. */
const Alternative = z.object({ backupId: z.string(), takenAt: instant });

export const RecoveryState = z.enum([
  'queued',
  'triggered',
  'planned',
  'activating',
  'exporting',
  /** All is written and flushed; the host makes a VM of it. */
  'defining',
  /** An instant recovery: the VM runs, and its disks are filled behind it. */
  'filling',
  /** Nothing of it begins or goes on until somebody resumes it. */
  'paused',
  /** It was ordered to end, and has not yet. */
  'cancelling',
  ...BackupOutcome.options,
]);
export type RecoveryState = z.infer<typeof RecoveryState>;

export const RecoveryView = z.object({
  recoveryId: z.string(),
  /** What is recovered, and which VM it was. As the request named it; null when it named none that could be read. */
  backupId: z.string().nullable(),
  sourceHostId: z.string().nullable(),
  sourceVmId: z.string().nullable(),
  takenAt: instant.nullable(),
  /** The VM to be. */
  hostId: z.string().nullable(),
  vmId: z.string().nullable(),
  diskIds: z.array(z.string()),
  state: RecoveryState,
  /** How far it is: where it is paused or is being cancelled, its state without that. */
  stage: RecoveryState,
  pausedAt: instant.nullable(),
  /** By whom, and why; while it is paused. */
  pauseReason: z.string().nullable(),
  origin: Origin,
  policyId: z.string().nullable(),
  requestedMode: z.enum(['auto', ...TransportMode.options]).nullable(),
  behindRunId: z.string().nullable(),
  replace: z.boolean(),
  start: z.boolean(),
  verify: z.boolean(),
  instant: z.boolean(),
  machine: Machine.nullable(),
  mode: TransportMode.nullable(),
  modeReason: z.string().nullable(),
  proxiesCalculated: count.nullable(),
  /** What the run really got. */
  proxies: count.nullable(),
  proxiesShared: count.nullable(),
  waves: count.nullable(),
  shortfall: z.string().nullable(),
  diskBytes: count,
  bytesToWrite: count,
  /** Written and flushed. */
  writtenBytes: count,
  /** Read back and compared. */
  verifiedBytes: count,
  zeroBytes: count,
  chunks: count,
  dataStreams: count,
  dataStreamsDone: count,
  /** Of an instant recovery: of `diskBytes`, what the VM has no mount for any more. */
  filledBytes: count,
  interruptions: count,
  /** Whether the VM runs; null while there is none. */
  started: z.boolean().nullable(),
  /** It should run, and why it does not. */
  notStarted: z.string().nullable(),
  refusal: Refusal.nullable(),
  alternative: Alternative.nullable(),
  requestedAt: instant.nullable(),
  triggeredAt: instant.nullable(),
  plannedAt: instant.nullable(),
  activatedAt: instant.nullable(),
  exportingAt: instant.nullable(),
  exportedAt: instant.nullable(),
  /** When an instant recovery had its VM run. */
  runningAt: instant.nullable(),
  endedAt: instant.nullable(),
  /** When the host had everything back. */
  closedAt: instant.nullable(),
  /** Time for which it held ports, port by port: what it has cost. Known when it is closed. */
  portMilliseconds: count.nullable(),
  firstPosition: position,
  position,
});
export type RecoveryView = z.infer<typeof RecoveryView>;

/** A data stream writes a portion of one disk: what a child job is to a backup. */
export const DataStreamView = z.object({
  childJobId: z.string(),
  recoveryId: z.string(),
  hostId: z.string(),
  vmId: z.string(),
  diskId: z.string(),
  state: ChildJobState,
  offset: count,
  length: count,
  estimatedBytes: count,
  attempt: count,
  wave: count.nullable(),
  /** Held now: null and empty while it holds none. */
  leaseId: z.string().nullable(),
  ports: z.array(count),
  /** Where it runs, or ran last. */
  proxyId: z.string().nullable(),
  writtenBytes: count,
  verifiedBytes: count,
  zeroBytes: count,
  chunks: count,
  /** What the newest attempt did not have to write again. */
  resumedBytes: count,
  interruptions: count,
  lastInterruption: z.string().nullable(),
  startedAt: instant.nullable(),
  completedAt: instant.nullable(),
  firstPosition: position,
  /** Its place in the plan. */
  ordinal: count,
  position,
});
export type DataStreamView = z.infer<typeof DataStreamView>;

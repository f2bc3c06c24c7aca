/**
 * What is known of a snapshot of a running VM between calls, and after a crash: one file per snapshot, written before each step
 * says what the step is about to do. What really stands is in QEMU, under names that are derived (node-names.ts); the file says
 * what cannot be seen there: whether the guest ran, and what the caller was told.
 */
import { Consistency, Name, SnapshotDisk } from '@backhaul/contracts';
import { z } from 'zod';
import { NotedThings } from '../noted-things.ts';
import { ProcessMark } from '../processes.ts';

const Standing = z.object({
  takenAt: z.string(),
  pauseMilliseconds: z.number(),
  consistency: Consistency,
  disks: z.array(SnapshotDisk),
});

export const VmSnapshotState = z.object({
  schema: z.literal(1),
  snapshotId: z.string(),
  vmId: Name,
  disks: z.array(
    z.object({
      diskId: Name,
      sizeBytes: z.int(),
      /** Null for a disk that nobody can write to: it needs no filter. */
      scratch: z.string().nullable(),
      /** The bitmap that this snapshot starts, or null where it starts none. */
      checkpoint: z.string().nullable(),
    }),
  ),
  /** Set before a freezer may begin, cleared when it is certain that the guest runs as before. */
  freezer: ProcessMark.nullable(),
  /** The freezer was to hold the guest: one that is found paused is to be continued. */
  holds: z.boolean(),
  /** The guest has not confirmed that its file systems are thawed. */
  thawOwed: z.boolean(),
  /** Null while it is being taken: nobody was told of it yet. */
  standing: Standing.nullable(),
  /** Set once giving back has begun: there is no way back from there. */
  releasing: z.enum(['committed', 'discarded']).nullable(),
});
export type VmSnapshotState = z.infer<typeof VmSnapshotState>;

export class VmSnapshotStates extends NotedThings<typeof VmSnapshotState> {
  constructor(folder: string) {
    super(folder, 'snapshot', VmSnapshotState, ({ snapshotId }) => snapshotId);
  }
}

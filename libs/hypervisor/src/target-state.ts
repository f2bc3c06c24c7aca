/**
 * What is known of a target between calls, and after a crash: one file per target, written before each step that it makes possible
 * to undo, and kept as long as the disks of a VM that runs already are being filled. No file: there is no server, and no disk that is not a VM's.
 */
import { Machine, Mounts, Name } from '@backhaul/contracts';
import { z } from 'zod';
import { NotedThings } from './noted-things.ts';

export const TargetState = z.object({
  schema: z.literal(1),
  targetId: z.string(),
  vmId: Name,
  disks: z.array(z.object({ diskId: Name, sizeBytes: z.int(), bytesToWrite: z.int() })),
  replace: z.boolean(),
  machine: Machine,
  /** Of an instant recovery. */
  mounts: Mounts.optional(),
  /**
   * `making`: what there is of the disks is worth nothing. `made`: they are there, and may have been written to. `filling`: they are those
   * of a VM that has run.
   */
  phase: z.enum(['making', 'made', 'filling', 'discarding']),
});
export type TargetState = z.infer<typeof TargetState>;

export class TargetStates extends NotedThings<typeof TargetState> {
  constructor(folder: string) {
    super(folder, 'target', TargetState, ({ targetId }) => targetId);
  }
}

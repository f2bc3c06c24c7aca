/**
 * What is known of a target between calls, and after a crash: one file per target, written before each step says what the step is about
 * to do. Its disks lie on the file system of the VMs, in a folder that no VM can be named after:
 * `<folder>/.backhaul-targets/<target id>/vm/` is to be the VM, and `.../replaced/` takes the one whose place it gets.
 */
import { join } from 'node:path';
import { Bytes, Name } from '@backhaul/contracts';
import { z } from 'zod';
import { NotedThings, requireId } from '../noted-things.ts';
import type { TargetImage } from '../target-server.ts';
import type { StorageDaemon } from './storage-daemon.ts';

export const StagedTarget = z.object({
  schema: z.literal(1),
  targetId: z.string(),
  vmId: Name,
  replace: z.boolean(),
  disks: z.array(z.object({ diskId: Name, sizeBytes: Bytes, bytesToWrite: Bytes })),
  /**
   * `making`: images may be there, and nobody was told of them. `standing`: all are there, and may have been written to. `keeping`:
   * written to no more, and what is renamed may have been. `discarding`: there is no way back.
   */
  stage: z.enum(['making', 'standing', 'keeping', 'discarding']),
  /** While `keeping`: the file or folder at the name of the VM, which goes; null where there is none. */
  replaced: z.string().nullable(),
});
export type StagedTarget = z.infer<typeof StagedTarget>;

export const TARGETS_FOLDER = '.backhaul-targets';

export interface Staging {
  /** Holds the two others. */
  readonly folder: string;
  readonly fresh: string;
  readonly aside: string;
}

export class StagedTargets extends NotedThings<typeof StagedTarget> {
  readonly #vmsFolder: string;

  constructor(folder: string, vmsFolder: string) {
    super(folder, 'target', StagedTarget, ({ targetId }) => targetId);
    this.#vmsFolder = vmsFolder;
  }

  serverOf(targetId: string): StorageDaemon {
    return {
      what: `the server of target ${targetId}`,
      folder: this.folderOf(targetId),
      name: 'host',
      connectionsMax: 0,
    };
  }

  stagingOf(targetId: string): Staging {
    requireId('target', targetId);
    const folder = join(this.#vmsFolder, TARGETS_FOLDER, targetId);
    return { folder, fresh: join(folder, 'vm'), aside: join(folder, 'replaced') };
  }

  imagesOf({ targetId, disks }: StagedTarget): TargetImage[] {
    const { fresh } = this.stagingOf(targetId);
    return disks.map(({ diskId }) => ({
      targetId,
      diskId,
      path: join(fresh, `${diskId}.qcow2`),
      format: 'qcow2',
    }));
  }
}

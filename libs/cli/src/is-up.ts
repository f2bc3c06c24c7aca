import { markOf } from '@backhaul/hypervisor';
import type { StackFile } from './stack-file.ts';

/** Whether the `backhaul up` that wrote it still runs: its pid may be another's by now, after a restart of the machine or of a container. */
export async function isUp({ pid, started }: Pick<StackFile, 'pid' | 'started'>): Promise<boolean> {
  const mark = await markOf(pid);
  // Of a file that an earlier release wrote no more is known than the pid.
  return mark !== undefined && (started === undefined || started === mark.started);
}

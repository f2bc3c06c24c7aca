/**
 * How data, and what changed of it, is spread over a disk: asked of its export, never by reading it. Memory and time follow
 * the number of extents, not the disk size.
 */
import type { Density } from '@backhaul/contracts';
import { connectNbd, STATE_DIRTY, STATE_ZERO } from '@backhaul/nbd';
import { countDensity } from './directory/density.ts';

/** The metadata context under which QEMU serves the dirty extents of a bitmap. */
export const changedContextOf = (bitmap: string): string => `qemu:dirty-bitmap:${bitmap}`;

/** Called at each extent; what is looked at goes on when it is done. */
export type OnLooked = (what: 'allocation' | 'changes', bytes: number) => Promise<void> | undefined;

export async function measure(
  uri: string,
  sizeBytes: number,
  checkpoint: string | null,
  onLooked: OnLooked = () => undefined,
): Promise<{ allocated: Density; changed: Density }> {
  const allocated = countDensity(sizeBytes);
  const changed = countDensity(sizeBytes);
  const contexts = ['base:allocation', ...(checkpoint === null ? [] : [changedContextOf(checkpoint)])];
  const client = sizeBytes === 0 ? undefined : await connectNbd({ uri, contexts });
  try {
    for await (const run of client?.blockStatus('base:allocation', 0, sizeBytes) ?? []) {
      // A hole that is not known to be zero has undefined contents: it has to be read.
      if ((run.flags & STATE_ZERO) === 0) allocated.add(run.offset, run.length);
      await onLooked('allocation', run.offset + run.length);
    }
    if (client !== undefined && checkpoint !== null) {
      for await (const run of client.blockStatus(changedContextOf(checkpoint), 0, sizeBytes)) {
        if ((run.flags & STATE_DIRTY) !== 0) changed.add(run.offset, run.length);
        await onLooked('changes', run.offset + run.length);
      }
    }
  } finally {
    await client?.close();
  }
  return { allocated: allocated.result(), changed: changed.result() };
}

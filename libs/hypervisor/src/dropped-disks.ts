/** A VM that is replaced is gone with all its disks: those that do not come back must not go unsaid. */
import { listed, type Refusal } from '@backhaul/kernel';
import type { TargetOrder } from './host.ts';

/** `there`: disks of the VM that would be replaced. Undefined when each of them comes back. */
export function droppedDisks(
  { vmId, disks }: Pick<TargetOrder, 'vmId' | 'disks'>,
  there: readonly string[],
): Refusal | undefined {
  const dropped = there.filter((id) => !disks.some(({ diskId }) => diskId === id));
  if (dropped.length === 0) return undefined;
  return {
    code: 'ReplaceWouldDropDisks',
    message: `VM ${vmId} has disk ${listed(dropped)}, which would be gone: it is not among the disks to recover (${listed(disks.map(({ diskId }) => diskId))}).`,
    wayOut: 'Recover every disk of it, or recover to another name and move what you need.',
  };
}

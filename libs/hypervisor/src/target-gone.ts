/** Disks of a target that were made, and perhaps written to, and that nobody knows of any more. */
import type { Refusal } from '@backhaul/kernel';
import type { TargetOrder } from './host.ts';

export const targetGone = (
  hostId: string,
  { targetId, vmId }: Pick<TargetOrder, 'targetId' | 'vmId'>,
): Refusal => ({
  code: 'TargetLost',
  message: `The disks of VM ${vmId} that were being written on host ${hostId} are gone: it has no notes of target ${targetId}.`,
  wayOut: 'See to it that the state directory of the host outlives a restart, then start the recovery again.',
});

/**
 * What an instant recovery asks for next: disks over the mounts, once the restore point is served (commands.ts); the VM, at once; and
 * then that its disks are filled, however often that is interrupted while something comes of it. Pure, as all of run-steps.ts.
 */
import type { Action } from './actions.ts';
import { failureOf, type HostEvent, type RecoveryOrder, type Run } from './pool-state.ts';

/** How often filling may be interrupted and nothing come of it in between. */
const INTERRUPTIONS_MAX = 5;

export function instantSteps(
  run: Run,
  order: RecoveryOrder,
  { decisions, actions }: { readonly decisions: HostEvent[]; readonly actions: Action[] },
): void {
  const { hold, fill } = run;
  // Before there is a mount nothing is asked of the host.
  if (hold === 'none' || hold === 'released') return;
  // Served by nobody they are never found lost (drift.ts), and so never made again.
  if (hold === 'requested') actions.push({ type: 'CreateTarget', order, again: false, mounts: fill.mounts });
  else if (hold === 'ready') actions.push({ type: 'KeepTarget', order });
  else if (fill.interruptions > INTERRUPTIONS_MAX) decisions.push(failureOf(order, notFilled(run)));
  else if (fill.due) actions.push({ type: 'FillTarget', order });
}

const notFilled = ({ order, fill }: Run): { code: string; message: string; wayOut: string } => ({
  code: 'FillFailed',
  message: `The disks of vm ${order.vmId} could not be filled: that was interrupted ${fill.interruptions} times and nothing came of it.`,
  wayOut:
    'The VM runs on from the restore point until it ends, and its disks are left then. Look at the events FillInterrupted of this recovery; save what was done in the VM, then recover again.',
});

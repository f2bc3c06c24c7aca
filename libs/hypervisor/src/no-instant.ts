/** Of hosts that do not start VMs: no VM of theirs can run before its disks are filled. */
import { Fault } from '@backhaul/kernel';
import type { HypervisorHost, TargetInspection } from './host.ts';

export function withoutInstantRecovery(
  kind: string,
): Pick<HypervisorHost, 'fillTarget' | 'leaveTarget'> & { readonly instant: TargetInspection['instant'] } {
  const reason = `a host of kind ${kind} starts no VMs`;
  const none = async (): Promise<never> => {
    throw new Fault(`There is no instant recovery: ${reason}`, {
      permanent: true,
      code: 'InstantUnavailable',
    });
  };
  return { instant: { available: false, reason }, fillTarget: none, leaveTarget: none };
}

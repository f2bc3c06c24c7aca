/**
 * Whether an order to cancel, pause or go on comes too late for a run that has started, from what the services that carry it out have said
 * of it. Those say the last word in any case: this spares an order that can be known to be in vain, and says why.
 */
import type { Event } from '@backhaul/contracts';
import type { Refusal } from '@backhaul/kernel';
import type { RunName } from './run.ts';

/** `ofOthers`: of the run's streams `transfer-<id>` or `export-<id>`, and `plan-<id>`; of an instant recovery TargetKept, too. */
export function whatIsInTheWay({ runId }: RunName, ofOthers: readonly Event[]): Refusal | undefined {
  const found = ofOthers.map(({ type, data }): Refusal | undefined => {
    switch (type) {
      case 'BackupCompleted':
        return ended(`Backup ${runId} has completed`, 'Its restore point stays.');
      case 'BackupFailed':
        return ended(`Backup ${runId} has failed: ${data.refusal.message}`);
      case 'PlanRefused':
        return ended(`Backup ${runId} never ran: ${data.refusal.message}`);
      case 'RecoveryCompleted':
        return ended(
          `Recovery ${runId} has completed, and its VM ${data.vmId} stands`,
          'Remove the VM if nobody wants it.',
        );
      case 'RecoveryFailed':
        return ended(`Recovery ${runId} has failed: ${data.refusal.message}`);
      case 'RecoveryPlanRefused':
        return ended(`Recovery ${runId} never ran: ${data.refusal.message}`);
      case 'DataExported':
        return {
          code: 'TooLate',
          message: `All data of recovery ${runId} is written, and its host makes a VM ${data.vmId} of it.`,
          wayOut: 'Let it complete, and remove the VM if nobody wants it.',
        };
      case 'TargetKept':
        return {
          code: 'TooLate',
          message: `VM ${data.vmId} of recovery ${runId} runs already, and somebody may work in it.`,
          wayOut:
            'Let its disks be filled: then the recovery completes, and the VM can be shut down and removed.',
        };
      default:
        return undefined;
    }
  });
  // The end says more than what came before it.
  return found.findLast((refusal) => refusal !== undefined);
}

const ended = (message: string, wayOut?: string): Refusal => ({
  code: 'AlreadyEnded',
  message: message.endsWith('.') ? message : `${message}.`,
  ...(wayOut === undefined ? {} : { wayOut }),
});

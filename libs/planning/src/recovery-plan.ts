/** The plan of a recovery, as its stream tells it: what was found in the restore point and at the host, then the second quantity or a refusal. */
import type { Event, EventData, RecoveryInspection } from '@backhaul/contracts';
import type { Refusal } from '@backhaul/kernel';
import { planRecovery } from './plan-recovery.ts';
import type { KindOfPlan } from './run-plan.ts';

export type TriggeredRecovery = EventData<'RecoveryTriggered'>;
export type RecoveryPlanEvent = Event<
  'RecoveryInspected' | 'RecoveryProxiesCalculated' | 'RecoveryPlanRefused'
>;

const refused = ({ recoveryId, hostId, vmId }: TriggeredRecovery, refusal: Refusal): RecoveryPlanEvent => ({
  type: 'RecoveryPlanRefused',
  data: { recoveryId, hostId, vmId, refusal },
});

export const recoveryPlan: KindOfPlan<TriggeredRecovery, RecoveryInspection, RecoveryPlanEvent> = {
  runIdOf: ({ recoveryId }) => recoveryId,

  inspectionIn(event) {
    if (event.type !== 'RecoveryInspected') return undefined;
    const { recoveryId: _, backupId: __, ...inspection } = event.data;
    return inspection;
  },

  decisions: ['RecoveryProxiesCalculated', 'RecoveryPlanRefused'],

  inspected: (inspection, { recoveryId, backupId }) => ({
    type: 'RecoveryInspected',
    data: { ...inspection, recoveryId, backupId },
  }),

  calculated(inspection, triggered, pool) {
    const result = planRecovery(triggered, inspection, pool);
    return result.ok
      ? { type: 'RecoveryProxiesCalculated', data: result.value }
      : refused(triggered, result.refusal);
  },

  refused,
};

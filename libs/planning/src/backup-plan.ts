/** The plan of a backup, as its stream tells it: what was found at the VM, then the quantity of proxies or a refusal. */
import type { Event, EventData, Inspection } from '@backhaul/contracts';
import type { Refusal } from '@backhaul/kernel';
import { plan } from './plan.ts';
import type { KindOfPlan } from './run-plan.ts';

export type TriggeredBackup = EventData<'BackupTriggered'>;
export type BackupPlanEvent = Event<'VmInspected' | 'ProxiesCalculated' | 'PlanRefused'>;

const refused = ({ backupId, hostId, vmId }: TriggeredBackup, refusal: Refusal): BackupPlanEvent => ({
  type: 'PlanRefused',
  data: { backupId, hostId, vmId, refusal },
});

export const backupPlan: KindOfPlan<TriggeredBackup, Inspection, BackupPlanEvent> = {
  runIdOf: ({ backupId }) => backupId,

  inspectionIn(event) {
    if (event.type !== 'VmInspected') return undefined;
    const { backupId: _, ...inspection } = event.data;
    return inspection;
  },

  decisions: ['ProxiesCalculated', 'PlanRefused'],

  inspected: (inspection, { backupId }) => ({ type: 'VmInspected', data: { ...inspection, backupId } }),

  calculated(inspection, triggered, pool) {
    const { backupId, kind, mode, parent, priority, requestedAt: askedAt, policy } = triggered;
    const result = plan(inspection, { backupId, kind, mode, parent, priority, askedAt }, policy, pool);
    return result.ok ? { type: 'ProxiesCalculated', data: result.value } : refused(triggered, result.refusal);
  },

  refused,
};

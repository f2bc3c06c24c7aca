/**
 * The plan of one backup. The promises kept here: what was found at the VM is recorded before it is used, because a replay
 * cannot ask the host again; and there is one plan, or one refusal, however often it is asked for.
 * The rules themselves are in libs/planning.
 */
import {
  type Event,
  type EventData,
  type Inspection,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import { type Decider, invariant, ok, type Refusal, unreachable } from '@backhaul/kernel';
import { type PlanRequest, type PoolView, plan } from '@backhaul/planning';

export const planStream = (backupId: string): StreamName => streamName('plan', backupId);

export type PlanEvent = Event<'VmInspected' | 'ProxiesCalculated' | 'PlanRefused'>;

export type Planning =
  | { readonly state: 'asked' }
  | { readonly state: 'inspected'; readonly inspection: Inspection }
  | { readonly state: 'decided' };

/** Of `BackupTriggered`, which carries all that a plan needs but the inspection and the pool. */
export type Triggered = EventData<'BackupTriggered'>;

export type PlanCommand =
  | {
      readonly type: 'InspectAndCalculate';
      readonly triggered: Triggered;
      readonly inspection: Inspection;
      readonly pool: PoolView;
    }
  | { readonly type: 'CalculateProxies'; readonly triggered: Triggered; readonly pool: PoolView }
  | { readonly type: 'RefusePlan'; readonly triggered: Triggered; readonly refusal: Refusal };

export const planning: Decider<Planning, PlanCommand, PlanEvent> = {
  initialState: { state: 'asked' },

  evolve(state, event): Planning {
    switch (event.type) {
      case 'VmInspected': {
        const { backupId: _, ...inspection } = event.data;
        return state.state === 'asked' ? { state: 'inspected', inspection } : state;
      }
      case 'ProxiesCalculated':
      case 'PlanRefused':
        return { state: 'decided' };
      default:
        return state;
    }
  },

  decide(state, command) {
    const { triggered } = command;
    if (state.state === 'decided') return ok([]);
    switch (command.type) {
      case 'InspectAndCalculate': {
        // Of two inspections the one on record counts.
        const known = state.state === 'inspected';
        const inspection = known ? state.inspection : command.inspection;
        const inspected: PlanEvent = {
          type: 'VmInspected',
          data: { ...inspection, backupId: triggered.backupId },
        };
        return ok([...(known ? [] : [inspected]), calculated(inspection, triggered, command.pool)]);
      }
      case 'CalculateProxies': {
        invariant(
          state.state === 'inspected',
          `Backup ${triggered.backupId} is planned before its inspection`,
        );
        return ok([calculated(state.inspection, triggered, command.pool)]);
      }
      case 'RefusePlan':
        return ok([refused(triggered, command.refusal)]);
      default:
        return unreachable(command);
    }
  },
};

function calculated(inspection: Inspection, triggered: Triggered, pool: PoolView): PlanEvent {
  const result = plan(inspection, requestOf(triggered), triggered.policy, pool);
  return result.ok ? { type: 'ProxiesCalculated', data: result.value } : refused(triggered, result.refusal);
}

const requestOf = ({ backupId, kind, mode, parent }: Triggered): PlanRequest => ({
  backupId,
  kind,
  mode,
  parent,
});

const refused = ({ backupId, hostId, vmId }: Triggered, refusal: Refusal): PlanEvent => ({
  type: 'PlanRefused',
  data: { backupId, hostId, vmId, refusal },
});

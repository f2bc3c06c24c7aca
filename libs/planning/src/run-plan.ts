/**
 * The plan of one run, a backup or a recovery. The promises kept here: what was found is recorded before it is used, because a
 * replay cannot ask the host or the repository again; and there is one plan, or one refusal, however often it is asked for.
 * What is found, and the events that say it, are in backup-plan.ts and recovery-plan.ts; the rules themselves in libs/planning.
 */
import { type Event, type StreamName, streamName } from '@backhaul/contracts';
import { type Decider, invariant, ok, type Refusal, unreachable } from '@backhaul/kernel';
import type { PoolView } from './plan.ts';

/** `runId`: the id of the backup or of the recovery. */
export const planStream = (runId: string): StreamName => streamName('plan', runId);

/** One kind of run, and how its plan is told in events. `triggered` carries all that a plan needs but the inspection and the pool. */
export interface KindOfPlan<Triggered, Inspection, PlanEvent extends Event> {
  runIdOf(triggered: Triggered): string;
  /** What the event says was found; undefined when it says something else. */
  inspectionIn(event: PlanEvent): Inspection | undefined;
  /** After these there is nothing left to decide. */
  readonly decisions: readonly PlanEvent['type'][];
  inspected(inspection: Inspection, triggered: Triggered): PlanEvent;
  calculated(inspection: Inspection, triggered: Triggered, pool: PoolView): PlanEvent;
  refused(triggered: Triggered, refusal: Refusal): PlanEvent;
}

export type Planning<Inspection> =
  | { readonly state: 'asked' }
  | { readonly state: 'inspected'; readonly inspection: Inspection }
  | { readonly state: 'decided' };

export type PlanCommand<Triggered, Inspection> =
  | {
      readonly type: 'InspectAndCalculate';
      readonly triggered: Triggered;
      readonly inspection: Inspection;
      readonly pool: PoolView;
    }
  | { readonly type: 'CalculateProxies'; readonly triggered: Triggered; readonly pool: PoolView }
  | { readonly type: 'RefusePlan'; readonly triggered: Triggered; readonly refusal: Refusal };

export function planningOf<Triggered, Inspection, PlanEvent extends Event>(
  kind: KindOfPlan<Triggered, Inspection, PlanEvent>,
): Decider<Planning<Inspection>, PlanCommand<Triggered, Inspection>, PlanEvent> {
  return {
    initialState: { state: 'asked' },

    evolve(state, event) {
      if (kind.decisions.includes(event.type)) return { state: 'decided' };
      const inspection = kind.inspectionIn(event);
      return inspection !== undefined && state.state === 'asked' ? { state: 'inspected', inspection } : state;
    },

    decide(state, command) {
      const { triggered } = command;
      if (state.state === 'decided') return ok([]);
      switch (command.type) {
        case 'InspectAndCalculate': {
          // Of two inspections the one on record counts.
          const known = state.state === 'inspected';
          const inspection = known ? state.inspection : command.inspection;
          return ok([
            ...(known ? [] : [kind.inspected(inspection, triggered)]),
            kind.calculated(inspection, triggered, command.pool),
          ]);
        }
        case 'CalculateProxies': {
          invariant(
            state.state === 'inspected',
            `Run ${kind.runIdOf(triggered)} is planned before its inspection`,
          );
          return ok([kind.calculated(state.inspection, triggered, command.pool)]);
        }
        case 'RefusePlan':
          return ok([kind.refused(triggered, command.refusal)]);
        default:
          return unreachable(command);
      }
    },
  };
}

/**
 * The plan of one run, a backup or a recovery. The promises kept here: what was found is recorded before it is used, because a
 * replay cannot ask the host or the repository again; and there is one plan, or one refusal, however often it is asked for.
 * What is found, and the events that say it, are in backup-plan.ts and recovery-plan.ts; the rules themselves in libs/planning.
 */
import { type Event, type Policy, type StreamName, streamName } from '@backhaul/contracts';
import { type Decider, invariant, ok, type Refusal, unreachable } from '@backhaul/kernel';
import type { PoolView } from './plan.ts';
import { type ShadowPlan, shadowPlanOf } from './shadow-plan.ts';

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

/** What a plan is calculated with. `shadows`: policies that are to be planned with beside it, for nobody to act on. */
interface Calculation<Triggered> {
  readonly triggered: Triggered;
  readonly pool: PoolView;
  readonly shadows?: readonly Policy[];
}

export type PlanCommand<Triggered, Inspection> =
  | ({ readonly type: 'InspectAndCalculate'; readonly inspection: Inspection } & Calculation<Triggered>)
  | ({ readonly type: 'CalculateProxies' } & Calculation<Triggered>)
  | { readonly type: 'RefusePlan'; readonly triggered: Triggered; readonly refusal: Refusal };

export function planningOf<
  Triggered extends { readonly policy: Policy },
  Inspection,
  PlanEvent extends Event,
>(
  kind: KindOfPlan<Triggered, Inspection, PlanEvent>,
): Decider<Planning<Inspection>, PlanCommand<Triggered, Inspection>, PlanEvent | ShadowPlan> {
  return {
    initialState: { state: 'asked' },

    evolve(state, event) {
      if (event.type === 'ShadowPlanCalculated') return state;
      const told = event as PlanEvent;
      if (kind.decisions.includes(told.type)) return { state: 'decided' };
      const inspection = kind.inspectionIn(told);
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
            ...calculated(kind, inspection, command),
          ]);
        }
        case 'CalculateProxies': {
          invariant(
            state.state === 'inspected',
            `Run ${kind.runIdOf(triggered)} is planned before its inspection`,
          );
          return ok(calculated(kind, state.inspection, command));
        }
        case 'RefusePlan':
          return ok([kind.refused(triggered, command.refusal)]);
        default:
          return unreachable(command);
      }
    },
  };
}

/** The plan, and then its shadows: a plan is the same whether or not there are any. */
function calculated<Triggered extends { readonly policy: Policy }, Inspection, PlanEvent extends Event>(
  kind: KindOfPlan<Triggered, Inspection, PlanEvent>,
  inspection: Inspection,
  { triggered, pool, shadows = [] }: Calculation<Triggered>,
): (PlanEvent | ShadowPlan)[] {
  const live = kind.calculated(inspection, triggered, pool);
  const plans = shadows.map((policy) => {
    const shadow = kind.calculated(inspection, { ...triggered, policy }, pool);
    return shadowPlanOf(live, shadow, policy, triggered.policy.policyId);
  });
  return [live, ...plans.filter((plan) => plan !== undefined)];
}

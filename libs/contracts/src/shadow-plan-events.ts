/**
 * Owned by planner. Stream `plan-<runId>`: what another policy would have made of the same findings. Nobody acts on it. It is there to be held
 * against the plan that was made: before a policy is changed, or long after somebody asks what another one would have done.
 */
import { z } from 'zod';
import { defineEvent } from './define-event.ts';
import { Policy } from './policy.ts';
import { run } from './run-naming.ts';
import { Purpose, Refusal, TransportMode, VmId } from './vocabulary.ts';

/** What a plan comes to, in a few numbers. */
export const PlanSummary = z.object({
  /** Null where it was refused. */
  mode: TransportMode.nullable(),
  /** The reason of the mode, or of the refusal. */
  reason: z.string(),
  /** Child jobs of a backup, data streams of a recovery. */
  childJobs: z.int().nonnegative(),
  proxies: z.int().nonnegative(),
  /** 0 where nothing runs. */
  waves: z.int().nonnegative(),
  refusal: Refusal.nullable(),
});
export type PlanSummary = z.infer<typeof PlanSummary>;

export const ShadowPlanCalculated = defineEvent(
  'plan',
  'ShadowPlanCalculated',
  z.object({
    ...run,
    vmId: VmId,
    purpose: Purpose,
    /** The shadow, whole: so that it can be calculated again, whatever became of it since. */
    policy: Policy,
    /** The policy of the plan that is carried out. */
    livePolicyId: z.string(),
    live: PlanSummary,
    shadow: PlanSummary,
  }),
);

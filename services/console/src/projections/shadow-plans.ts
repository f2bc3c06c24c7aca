/** What other policies would have made of each run that was planned, and whether that is something else. */
import type { consoleApi } from '@backhaul/contracts';
import { differencesOf } from '@backhaul/planning';
import type { Projection } from '../projection.ts';

type ShadowPlanView = consoleApi.ShadowPlanView;

export const shadowPlans: Projection<ShadowPlanView> = {
  table: 'shadow_plans',
  key: ['runId', 'policyId'],
  columns: {
    runId: 'text',
    policyId: 'text',
    livePolicyId: 'text',
    hostId: 'text',
    vmId: 'text',
    purpose: 'text',
    state: 'text',
    live: 'json',
    shadow: 'json',
    calculatedAt: 'instant',
    position: 'bigint',
  },
  indexes: [['state'], ['hostId']],
  concerns: (event) =>
    event.type === 'ShadowPlanCalculated'
      ? [{ runId: event.data.runId, policyId: event.data.policy.policyId }]
      : [],
  evolve(row, event) {
    if (event.type !== 'ShadowPlanCalculated') return row;
    const { policy, ...plan } = event.data;
    const state = differencesOf(plan.live, plan.shadow).length === 0 ? 'same' : 'otherwise';
    return { ...plan, policyId: policy.policyId, state, calculatedAt: event.recordedAt };
  },
};

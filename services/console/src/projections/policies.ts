/** Policies as they stand now. What a backup ran with is in its own events. */
import type { consoleApi } from '@backhaul/contracts';
import type { Projection } from '../projection.ts';

type PolicyView = consoleApi.PolicyView;

export const policies: Projection<PolicyView> = {
  table: 'policies',
  key: ['policyId'],
  columns: {
    policyId: 'text',
    policy: 'json',
    definedAt: 'instant',
    definitions: 'integer',
    position: 'bigint',
  },
  indexes: [],
  concerns: (event) => (event.type === 'PolicyDefined' ? [{ policyId: event.data.policy.policyId }] : []),
  evolve(row, event) {
    if (event.type !== 'PolicyDefined') return row;
    const { policy, definedAt } = event.data;
    return {
      policyId: policy.policyId,
      policy,
      definedAt,
      definitions: (row?.definitions ?? 0) + 1,
    };
  },
};

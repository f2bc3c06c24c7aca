/** What each host may carry, and whether its pool is decided under the newest definition already. */
import type { consoleApi } from '@backhaul/contracts';
import type { Projection } from '../projection.ts';

type HostPolicyView = consoleApi.HostPolicyView;

export const hostPolicies: Projection<HostPolicyView> = {
  table: 'host_policies',
  key: ['hostId'],
  columns: {
    hostId: 'text',
    policy: 'json',
    revision: 'integer',
    definedAt: 'instant',
    adoptedRevision: 'integer',
    adoptedAt: 'instant',
    position: 'bigint',
  },
  indexes: [],
  concerns: (event) =>
    event.type === 'HostPolicyDefined' || event.type === 'HostPolicyAdopted'
      ? [{ hostId: event.data.hostId }]
      : [],
  evolve(row, event) {
    if (event.type === 'HostPolicyDefined') {
      const { adoptedRevision = null, adoptedAt = null } = row ?? {};
      return { ...event.data, adoptedRevision, adoptedAt };
    }
    // Defined before it is adopted, in the log as well.
    if (event.type !== 'HostPolicyAdopted' || row === undefined) return row;
    return { ...row, adoptedRevision: event.data.revision, adoptedAt: event.recordedAt };
  },
};

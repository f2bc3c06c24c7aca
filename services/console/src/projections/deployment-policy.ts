/** What all hosts may come to together: one row, once somebody has defined it. */
import type { consoleApi } from '@backhaul/contracts';
import type { Projection } from '../projection.ts';

type DeploymentPolicyView = consoleApi.DeploymentPolicyView;

export const deploymentPolicy: Projection<DeploymentPolicyView> = {
  table: 'deployment_policy',
  key: ['scope'],
  columns: { scope: 'text', policy: 'json', definedAt: 'instant', position: 'bigint' },
  indexes: [],
  concerns: (event) => (event.type === 'DeploymentPolicyDefined' ? [{ scope: 'deployment' }] : []),
  evolve: (row, event) =>
    event.type === 'DeploymentPolicyDefined' ? { scope: 'deployment', ...event.data } : row,
};

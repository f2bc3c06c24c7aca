/**
 * What a host, and the deployment as a whole, may carry. The promises kept here: what a request does not name keeps its value, so two
 * who change two limits do not undo each other; and a definition is recorded only when it differs from the one before.
 */
import {
  type DeploymentPolicy,
  type DeploymentPolicyChanges,
  type Event,
  type HostPolicy,
  type HostPolicyChanges,
  noDeploymentPolicy,
  noHostPolicy,
} from '@backhaul/contracts';
import { type Decider, ok, refuse } from '@backhaul/kernel';
import { differing, withChanges } from './changes.ts';
import { unknownHost } from './wish.ts';

export interface HostLimits {
  readonly policy: HostPolicy;
  readonly revision: number;
}

export interface ChangeHostPolicy {
  readonly type: 'ChangeHostPolicy';
  readonly hostId: string;
  /** Whether the host is one of this deployment's. */
  readonly hostKnown: boolean;
  readonly changes: HostPolicyChanges;
  readonly definedAt: string;
}

export const hostLimits: Decider<HostLimits, ChangeHostPolicy, Event<'HostPolicyDefined'>> = {
  initialState: { policy: noHostPolicy, revision: 0 },
  evolve: (state, event) => (event.type === 'HostPolicyDefined' ? event.data : state),
  decide(state, { hostId, hostKnown, changes, definedAt }) {
    if (!hostKnown) return refuse(unknownHost(hostId));
    const policy = differing(state.policy, withChanges(state.policy, changes));
    if (policy === undefined) return ok([]);
    const revision = state.revision + 1;
    return ok([{ type: 'HostPolicyDefined', data: { hostId, policy, revision, definedAt } }]);
  },
};

export interface ChangeDeploymentPolicy {
  readonly type: 'ChangeDeploymentPolicy';
  readonly changes: DeploymentPolicyChanges;
  readonly definedAt: string;
}

export const deploymentLimits: Decider<
  DeploymentPolicy,
  ChangeDeploymentPolicy,
  Event<'DeploymentPolicyDefined'>
> = {
  initialState: noDeploymentPolicy,
  evolve: (state, event) => (event.type === 'DeploymentPolicyDefined' ? event.data.policy : state),
  decide(state, { changes, definedAt }) {
    const policy = differing(state, withChanges(state, changes));
    return ok(policy === undefined ? [] : [{ type: 'DeploymentPolicyDefined', data: { policy, definedAt } }]);
  },
};

/**
 * A policy under its name. The promise kept here: what a backup was triggered with never changes afterwards, because the
 * whole policy is copied into it; a change counts for the backups that are asked for later.
 */
import { defaultPolicy, type Event, type Policy, type StreamName, streamName } from '@backhaul/contracts';
import { type Decider, ok } from '@backhaul/kernel';

export const policyStream = (policyId: string): StreamName => streamName('policy', policyId);

export type PolicyEvent = Event<'PolicyDefined'>;

/** Undefined: nobody has defined it. */
export type PolicyState = Policy | undefined;

export interface PolicyCommand {
  readonly type: 'DefinePolicy';
  readonly policy: Policy;
  readonly definedAt: string;
}

export const policy: Decider<PolicyState, PolicyCommand, PolicyEvent> = {
  initialState: undefined,
  evolve: (state, event) => (event.type === 'PolicyDefined' ? event.data.policy : state),
  decide(state, command) {
    const same = JSON.stringify(state) === JSON.stringify(command.policy);
    return ok(
      same ? [] : [{ type: 'PolicyDefined', data: { policy: command.policy, definedAt: command.definedAt } }],
    );
  },
};

/** The default policy is there before anybody defines it. */
export const effectivePolicy = (policyId: string, defined: PolicyState): Policy | undefined =>
  defined ?? (policyId === defaultPolicy.policyId ? defaultPolicy : undefined);

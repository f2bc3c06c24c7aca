/**
 * A policy under its name. The promises kept here: what a backup was triggered with never changes afterwards, because the
 * whole policy is copied into it; a change counts for the backups that are asked for later; and two who change two fields do not undo each other.
 */
import {
  defaultPolicy,
  type Event,
  type Policy,
  type PolicyChanges,
  type StreamName,
  streamName,
} from '@backhaul/contracts';
import { type Decider, ok } from '@backhaul/kernel';
import { differing, withChanges } from './changes.ts';

export const policyStream = (policyId: string): StreamName => streamName('policy', policyId);

export type PolicyEvent = Event<'PolicyDefined'>;

/** Undefined: nobody has defined it. */
export type PolicyState = Policy | undefined;

export type PolicyCommand = { readonly definedAt: string } & (
  | { readonly type: 'DefinePolicy'; readonly policy: Policy }
  | { readonly type: 'ChangePolicy'; readonly policyId: string; readonly changes: PolicyChanges }
);

export const policy: Decider<PolicyState, PolicyCommand, PolicyEvent> = {
  initialState: undefined,
  evolve: (state, event) => (event.type === 'PolicyDefined' ? event.data.policy : state),
  decide(state, command) {
    const policy = differing(state, wanted(state, command));
    const { definedAt } = command;
    return ok(policy === undefined ? [] : [{ type: 'PolicyDefined', data: { policy, definedAt } }]);
  },
};

function wanted(state: PolicyState, command: PolicyCommand): Policy {
  if (command.type === 'DefinePolicy') return command.policy;
  const { policyId, changes } = command;
  return withChanges<Policy>(state ?? { ...defaultPolicy, policyId }, changes);
}

/** The default policy is there before anybody defines it. */
export const effectivePolicy = (policyId: string, defined: PolicyState): Policy | undefined =>
  defined ?? (policyId === defaultPolicy.policyId ? defaultPolicy : undefined);

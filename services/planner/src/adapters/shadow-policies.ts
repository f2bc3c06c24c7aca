/**
 * Policies that are planned with beside others, as this planner is told to: `default=candidate,nightly=candidate`. What a shadow allows is
 * defined as any policy is, and may change while this runs; one that nobody has defined yet casts no shadow, and that is said once.
 */
import { type Policy, streamName } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { z } from 'zod';

/** Beside one policy: each costs a plan of its own and an event of about two kilobytes. */
const SHADOWS_MAX = 4;

/** By the policy that is carried out: the ids of its shadows. */
export const ShadowPoliciesSetting = z
  .string()
  .default('')
  .transform((text, context): ReadonlyMap<string, readonly string[]> => {
    const pairs = text.split(',').filter((pair) => pair.trim() !== '');
    const named = pairs.map((pair) => pair.split('=').map((name) => name.trim()));
    for (const [at, names] of named.entries()) {
      const [live = '', shadow = '', ...more] = names;
      if (live === '' || shadow === '' || live === shadow || more.length > 0)
        context.addIssue(`"${pairs[at]}" is no pair of two policies; write it as default=candidate`);
    }
    const shadows = Map.groupBy(named, ([live = '']) => live);
    for (const [live, each] of shadows)
      if (each.length > SHADOWS_MAX)
        context.addIssue(
          `policy ${live} has ${each.length} shadows; at most ${SHADOWS_MAX} are planned with`,
        );
    return new Map([...shadows].map(([live, each]) => [live, each.map(([, shadow = '']) => shadow)]));
  });

export function shadowPoliciesFrom(
  store: EventStore,
  setting: ReadonlyMap<string, readonly string[]>,
  onUndefined: (policyId: string) => void,
): (policyId: string) => Promise<readonly Policy[]> {
  const policies = new Map<string, Definition>();
  return async (policyId) => {
    const found: Policy[] = [];
    for (const shadowId of setting.get(policyId) ?? []) {
      let definition = policies.get(shadowId);
      if (definition === undefined) {
        definition = new Definition(store, shadowId, onUndefined);
        policies.set(shadowId, definition);
      }
      const policy = await definition.now();
      if (policy !== undefined) found.push(policy);
    }
    return found;
  };
}

/** What a policy says now: read on from where it was read last. */
class Definition {
  readonly #store: EventStore;
  readonly #policyId: string;
  readonly #onUndefined: (policyId: string) => void;
  #policy: Policy | undefined;
  #version = 0;
  #isSaid = false;

  constructor(store: EventStore, policyId: string, onUndefined: (policyId: string) => void) {
    this.#store = store;
    this.#policyId = policyId;
    this.#onUndefined = onUndefined;
  }

  async now(): Promise<Policy | undefined> {
    for (let more = true; more; ) {
      const page = await this.#store.readStreamPage(streamName('policy', this.#policyId), this.#version);
      for (const event of page.events) {
        // Of two that read at once, the one that comes later must not put an older definition back.
        if (event.type === 'PolicyDefined' && event.version > this.#version) this.#policy = event.data.policy;
      }
      this.#version = Math.max(this.#version, page.version);
      more = page.more;
    }
    if (this.#policy === undefined && !this.#isSaid) {
      this.#isSaid = true;
      this.#onUndefined(this.#policyId);
    }
    return this.#policy;
  }
}

import { defaultPolicy, Policy } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { effectivePolicy, policy } from './policy.ts';
import { at, given } from './requests.fixture.ts';

const gold = Policy.parse({ policyId: 'gold', maxProxiesPerHost: 20 });
const define = (wanted: Policy) => ({ type: 'DefinePolicy' as const, policy: wanted, definedAt: at });
const defined = { type: 'PolicyDefined' as const, data: { policy: gold, definedAt: at } };

test('a policy is defined, and defined again only when it changed', () => {
  expect(given(policy)().when(define(gold))).toEqual({ ok: true, value: [defined] });
  expect(given(policy)(defined).when(define(gold))).toEqual({ ok: true, value: [] });
  expect(given(policy)(defined).when(define({ ...gold, maxProxiesPerHost: 1 }))).toMatchObject({
    value: [{ data: { policy: { maxProxiesPerHost: 1 } } }],
  });
});

test('the default is there before it is defined, and no other is', () => {
  expect(effectivePolicy('default', undefined)).toEqual(defaultPolicy);
  expect(effectivePolicy('gold', undefined)).toBeUndefined();
  expect(effectivePolicy('gold', gold)).toEqual(gold);
});

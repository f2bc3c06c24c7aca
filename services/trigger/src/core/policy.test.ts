import { defaultPolicy, Policy, type PolicyChanges } from '@backhaul/contracts';
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

test('what a change does not name keeps its value, or that of the default where there is none yet', () => {
  const change = (changes: PolicyChanges) =>
    ({ type: 'ChangePolicy', policyId: 'gold', changes, definedAt: at }) as const;
  expect(given(policy)(defined).when(change({ maxPortsPerProxy: 2 }))).toMatchObject({
    value: [{ data: { policy: { ...gold, maxPortsPerProxy: 2 } } }],
  });
  expect(given(policy)(defined).when(change({ maxProxiesPerHost: 20 }))).toEqual({ ok: true, value: [] });
  expect(given(policy)().when(change({ mode: 'proxy-vm' }))).toMatchObject({
    value: [{ data: { policy: { ...defaultPolicy, policyId: 'gold', mode: 'proxy-vm' } } }],
  });
});

test('the default is there before it is defined, and no other is', () => {
  expect(effectivePolicy('default', undefined)).toEqual(defaultPolicy);
  expect(effectivePolicy('gold', undefined)).toBeUndefined();
  expect(effectivePolicy('gold', gold)).toEqual(gold);
});

import { noHostPolicy } from '@backhaul/contracts';
import { expect, test } from 'vitest';
import { deploymentLimits, hostLimits } from './limits.ts';
import { at, given } from './requests.fixture.ts';

const change = (changes: object, hostKnown = true) =>
  ({ type: 'ChangeHostPolicy', hostId: 'lab', hostKnown, changes, definedAt: at }) as const;
const defined = (policy: object, revision: number) =>
  ({
    type: 'HostPolicyDefined',
    data: { hostId: 'lab', policy: { ...noHostPolicy, ...policy }, revision, definedAt: at },
  }) as const;

test('a limit is set on what nobody has limited yet', () => {
  expect(given(hostLimits)().when(change({ maxOpenSnapshots: 4 }))).toEqual({
    ok: true,
    value: [defined({ maxOpenSnapshots: 4 }, 1)],
  });
});

test('what a request does not name keeps its value, and null takes a limit away', () => {
  const before = defined({ maxOpenSnapshots: 4, maxRuns: 2 }, 6);
  expect(given(hostLimits)(before).when(change({ maxRuns: null, maxProxies: 3 }))).toEqual({
    ok: true,
    value: [defined({ maxOpenSnapshots: 4, maxProxies: 3 }, 7)],
  });
});

test('what changes nothing is not recorded', () => {
  const before = defined({ maxRuns: 2 }, 1);
  for (const changes of [{}, { maxRuns: 2 }, { maxRuns: 2, maxProxies: null }])
    expect(given(hostLimits)(before).when(change(changes))).toEqual({ ok: true, value: [] });
});

test('a host of another deployment has no policy here', () => {
  expect(given(hostLimits)().when(change({ maxRuns: 1 }, false))).toMatchObject({
    refusal: { code: 'UnknownHost' },
  });
});

test('the deployment as a whole has a limit of its own, recorded when it changes', () => {
  const set = (bytesPerSecond: number | null) =>
    ({ type: 'ChangeDeploymentPolicy', changes: { bytesPerSecond }, definedAt: at }) as const;
  const limited = {
    type: 'DeploymentPolicyDefined',
    data: { policy: { bytesPerSecond: 1000 }, definedAt: at },
  } as const;
  expect(given(deploymentLimits)().when(set(1000))).toEqual({ ok: true, value: [limited] });
  expect(given(deploymentLimits)(limited).when(set(1000))).toEqual({ ok: true, value: [] });
  expect(given(deploymentLimits)(limited).when(set(null))).toMatchObject({
    value: [{ data: { policy: { bytesPerSecond: null } } }],
  });
});

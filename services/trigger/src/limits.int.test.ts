/** The limits of a host and of the deployment, as they are asked for over HTTP and over NATS, on a real log and a real NATS. */
import { defaultPolicy, deploymentPolicyStream, hostPolicyStream, type Recorded } from '@backhaul/contracts';
import { MiB } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { policyStream } from './core/policy.ts';
import { askOverNats, callOverHttp, startTrigger } from './trigger.fixture.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
let http: FastifyInstance;

beforeAll(async () => {
  servers = await openTestMessaging();
  ({ service: trigger, http } = await startTrigger(servers));
});

afterAll(async () => {
  await http?.close();
  await servers?.close();
});

const patch = (url: string, body: object) => callOverHttp(http, 'PATCH', url, body);

test('the limits of a host are changed one by one, over HTTP and over NATS', async () => {
  expect(await patch('/api/v1/host-policies/lab', { maxOpenSnapshots: 4 })).toMatchObject({
    statusCode: 200,
  });
  await askOverNats(trigger, 'HostPolicyRequested', {
    requestId: 'limits-1',
    host: 'lab',
    changes: { maxRuns: 9, bytesPerSecond: 1_000 },
  });
  expect(await patch('/api/v1/host-policies/lab', { bytesPerSecond: null })).toMatchObject({
    statusCode: 200,
  });
  const { events } = await trigger.store.readStreamPage(hostPolicyStream('lab'));
  expect(events.at(-1)).toMatchObject({
    data: { revision: 3, policy: { maxOpenSnapshots: 4, maxRuns: 9, bytesPerSecond: null } },
  });
});

test('a policy is changed by several at once, and none undoes what another set', async () => {
  const changes = { maxProxiesPerHost: 3, maxPortsPerProxy: 2, mode: 'proxy-vm', childJobBytes: 8 * MiB };
  const replies = await Promise.all(
    Object.entries(changes).map(([field, value]) => patch('/api/v1/policies/night', { [field]: value })),
  );
  expect(replies.map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200]);
  const { events } = await trigger.store.readStreamPage(policyStream('night'));
  const [newest] = events.slice(-1) as Recorded<'PolicyDefined'>[];
  expect(newest?.data.policy).toEqual({ ...defaultPolicy, policyId: 'night', ...changes });
  expect((await patch('/api/v1/policies/night', { childJobBytes: 5 })).json()).toMatchObject({
    status: 422,
    detail: expect.stringMatching(/changes.childJobBytes: must be a multiple of 4 MiB/),
  });
  expect((await patch('/api/v1/policies/night', { maxProxies: 5 })).json().detail).toMatch(/maxProxies/);
});

test('the deployment has one of its own', async () => {
  expect(await patch('/api/v1/deployment-policy', { bytesPerSecond: 5 })).toMatchObject({ statusCode: 200 });
  const { events } = await trigger.store.readStreamPage(deploymentPolicyStream);
  expect(events).toMatchObject([
    { type: 'DeploymentPolicyDefined', data: { policy: { bytesPerSecond: 5 } } },
  ]);
});

test('what is no limit, or of no host here, is refused', async () => {
  expect((await patch('/api/v1/host-policies/elsewhere', { maxRuns: 1 })).json()).toMatchObject({
    code: 'UnknownHost',
  });
  expect((await patch('/api/v1/host-policies/lab', { maxRuns: 0 })).json()).toMatchObject({
    status: 422,
    detail: expect.stringContaining('changes.maxRuns'),
  });
});

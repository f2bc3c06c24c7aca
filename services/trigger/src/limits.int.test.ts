/** The limits of a host and of the deployment, as they are asked for over HTTP and over NATS, on a real log and a real NATS. */
import { deploymentPolicyStream, hostPolicyStream } from '@backhaul/contracts';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
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

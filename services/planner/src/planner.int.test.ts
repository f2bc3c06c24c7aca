/** The planner against a real log, a real NATS, a folder of real images and a real repository. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Event, type HostConfiguration, Policy, type Recorded } from '@backhaul/contracts';
import { derivedId, eventually, Fault, MiB } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import {
  type BackupPlanEvent,
  backupPlan,
  planStream,
  type RecoveryPlanEvent,
  recoveryPlan,
  type TriggeredBackup,
  type TriggeredRecovery,
} from '@backhaul/planning';
import { openRepository } from '@backhaul/repository';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { hostsOf } from './adapters/hosts.ts';
import { type LazyRepository, repositoryAt } from './adapters/lazy-repository.ts';
import { poolViewsFrom } from './adapters/pool-views.ts';
import { ShadowPoliciesSetting, shadowPoliciesFrom } from './adapters/shadow-policies.ts';
import { dueRunIn, runStreamOf, whenDue } from './due-runs.ts';
import { inspectRecovery } from './inspect-recovery.ts';
import { inspectVm } from './inspect-vm.ts';
import type { Patience } from './patience.ts';
import { planner as plannerOf } from './plan-run.ts';
import { recoveryOf } from './recovery.fixture.ts';
import { storeDisks } from './stored-disks.fixture.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const run = promisify(execFile);

let directory: string;
let servers: TestMessaging;
let trigger: TestService;
let planner: TestService;
let proxyManager: TestService;
let hosts: ReturnType<typeof hostsOf>;
let repository: LazyRepository;
const unheardOf: string[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'backhaul-planner-'));
  const images = await makeImages();
  servers = await openTestMessaging();
  [trigger, planner, proxyManager] = await Promise.all([
    servers.connect('trigger'),
    servers.connect('planner'),
    servers.connect('proxy-manager'),
  ]);
  const configured: HostConfiguration[] = [
    { hostId: 'lab', kind: 'directory', address: images },
    { hostId: 'cursed', kind: 'directory', address: images },
    { hostId: 'gone', kind: 'directory', address: join(directory, 'nowhere') },
  ];
  hosts = hostsOf(configured, { stateDirectory: join(directory, 'state') });
  const patience: Patience = { attempts: 2, firstDelayMilliseconds: 10 };
  const views = poolViewsFrom(planner.store);
  const setting = ShadowPoliciesSetting.parse('shadowed=candidate, shadowed=unheard-of');
  const shadowsOf = shadowPoliciesFrom(planner.store, setting, (policyId) => unheardOf.push(policyId));
  const poolOf: typeof views = async (hostId) => {
    if (hostId === 'cursed') throw new Fault('its pool can never be read', { permanent: true });
    return await views(hostId);
  };
  await planner.messaging.consumeWork({
    purpose: 'plans',
    types: ['BackupTriggered', 'BackupResumed'],
    concurrency: 2,
    ...whenDue(
      planner.store,
      'BackupTriggered',
      plannerOf(planner.store, backupPlan, {
        inspect: (triggered, signal) => inspectVm(hosts.named, triggered, signal, () => undefined, patience),
        poolOf,
        shadowsOf,
        isDue: isDueBackup,
      }),
    ),
  });
  repository = repositoryAt(join(directory, 'repository'));
  const places = { repository: repository.open, hostNamed: hosts.named };
  await planner.messaging.consumeWork({
    purpose: 'recovery-plans',
    types: ['RecoveryTriggered', 'RecoveryResumed'],
    concurrency: 2,
    ...whenDue(
      planner.store,
      'RecoveryTriggered',
      plannerOf(planner.store, recoveryPlan, {
        inspect: (triggered, signal) => inspectRecovery(places, triggered, signal, () => undefined, patience),
        poolOf,
        shadowsOf,
        isDue: isDueRecovery,
      }),
    ),
  });
});

const isDueBackup = async (data: TriggeredBackup): Promise<boolean> =>
  (await dueRunIn(planner.store, 'BackupTriggered', runStreamOf(data))).isDue;
const isDueRecovery = async (data: TriggeredRecovery): Promise<boolean> =>
  (await dueRunIn(planner.store, 'RecoveryTriggered', runStreamOf(data))).isDue;

afterAll(async () => {
  await servers?.close();
  await hosts?.close();
  await repository?.close();
  await rm(directory, { recursive: true, force: true });
});

/** web-1: 64 MiB with 12 MiB of data, as qcow2. broken: a qcow2 whose header is cut off. */
async function makeImages(): Promise<string> {
  const folder = join(directory, 'images');
  await run('mkdir', [folder]);
  const image = join(folder, 'web-1.qcow2');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, '64M']);
  await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 8M 12M', image]);
  await writeFile(
    join(folder, 'broken.qcow2'),
    Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(60)]),
  );
  return folder;
}

const backup = (requestId: string, fields: Partial<TriggeredBackup> = {}): TriggeredBackup => ({
  backupId: derivedId('backup', requestId),
  hostId: 'lab',
  vmId: 'web-1',
  kind: 'auto',
  mode: 'auto',
  policy: Policy.parse({ childJobBytes: 4 * MiB }),
  priority: 'normal',
  origin: { via: 'nats', requestId },
  requestedAt: new Date().toISOString(),
  parent: null,
  ...fields,
});

async function triggerAndPlan(triggered: TriggeredBackup): Promise<(Recorded & BackupPlanEvent)[]> {
  const { backupId } = triggered;
  await trigger.append(`backup-${backupId}`, { type: 'BackupTriggered', data: triggered });
  return await planOf<BackupPlanEvent>(backupId, backupPlan.decisions);
}

async function triggerAndPlanRecovery(
  triggered: TriggeredRecovery,
): Promise<(Recorded & RecoveryPlanEvent)[]> {
  const { recoveryId } = triggered;
  await trigger.append(`recovery-${recoveryId}`, { type: 'RecoveryTriggered', data: triggered });
  return await planOf<RecoveryPlanEvent>(recoveryId, recoveryPlan.decisions);
}

const planOf = <PlanEvent extends Event>(runId: string, decisions: readonly PlanEvent['type'][]) =>
  eventually(`a plan of ${runId}`, 20_000, async () => {
    const { events } = (await planner.store.readStreamPage(planStream(runId))) as unknown as {
      events: (Recorded & PlanEvent)[];
    };
    return events.some(({ type }) => decisions.includes(type)) ? events : undefined;
  });

const refusalOf = (events: (Recorded & BackupPlanEvent)[]) =>
  events.map((event) => (event.type === 'PlanRefused' ? event.data.refusal : event.type));

test('a triggered backup of a real image is inspected and planned', async () => {
  const [inspected, calculated] = await triggerAndPlan(backup('r1'));
  expect(inspected).toMatchObject({ type: 'VmInspected', data: { vmId: 'web-1' } });
  expect(calculated).toMatchObject({
    type: 'ProxiesCalculated',
    metadata: { actor: 'planner' },
    data: { kind: 'full', arithmetic: { totalBytes: 12 * MiB, childJobs: 3 }, expectedShared: 0 },
  });
});

test('proxies that are active at the host are expected to be shared', async () => {
  const ports = [{ port: 0, endpoint: 'nbd://127.0.0.1:1' }];
  await proxyManager.append('host-lab', {
    type: 'ProxyActivated',
    data: { hostId: 'lab', proxyId: 'p1', ports },
  });
  const plan = (await triggerAndPlan(backup('r2', { mode: 'proxy-vm' }))).at(-1);
  expect(plan).toMatchObject({
    data: { expectedShared: 1, arithmetic: { activeProxies: 1 }, hostVersion: 1 },
  });
});

test('a shadow of its policy is planned beside a plan, as it is defined in that moment, and nobody acts on it', async () => {
  const define = (policy: Partial<Policy>) =>
    trigger.append('policy-candidate', {
      type: 'PolicyDefined',
      data: {
        policy: Policy.parse({ policyId: 'candidate', ...policy }),
        definedAt: new Date().toISOString(),
      },
    });
  const shadowed = async (requestId: string) => {
    const asked = backup(requestId, {
      policy: Policy.parse({ policyId: 'shadowed', childJobBytes: 4 * MiB }),
    });
    const { backupId } = asked;
    await triggerAndPlan(asked);
    const { events } = await planner.store.readStreamPage(planStream(backupId));
    return events.map(({ type, data }) => (type === 'ShadowPlanCalculated' ? data : type));
  };
  await define({ childJobBytes: 4 * MiB, fullThresholdBytes: 1 * MiB });
  expect(await shadowed('shadowed-1')).toMatchObject([
    'VmInspected',
    'ProxiesCalculated',
    {
      policy: { policyId: 'candidate' },
      livePolicyId: 'shadowed',
      live: { mode: 'direct-to-host', childJobs: 3, proxies: 0, refusal: null },
      shadow: { mode: 'proxy-vm', childJobs: 3, proxies: 1, refusal: null },
    },
  ]);
  await define({ maxPortsPerProxy: 0 });
  expect((await shadowed('shadowed-2')).at(-1)).toMatchObject({
    live: { mode: 'direct-to-host' },
    shadow: { mode: null, refusal: { code: 'NoChildJobFits' } },
  });
  expect(unheardOf).toEqual(['unheard-of']);
});

test('an inspection that stands is used, and the host is not asked again', async () => {
  const [inspected] = await triggerAndPlan(backup('r1'));
  const crashed = backup('r3', { vmId: 'no-such-vm' });
  await planner.append(planStream(crashed.backupId), {
    type: 'VmInspected',
    data: { ...(inspected as Recorded<'VmInspected'>).data, backupId: crashed.backupId, vmId: 'no-such-vm' },
  });
  expect((await triggerAndPlan(crashed)).map(({ type }) => type)).toEqual([
    'VmInspected',
    'ProxiesCalculated',
  ]);
});

test.each([
  ['an unknown VM', { vmId: 'no-such-vm' }, 'no-such-vm'],
  ['a corrupt image', { vmId: 'broken' }, 'broken'],
  ['an unknown host', { hostId: 'elsewhere' }, 'elsewhere'],
  ['a host whose folder is gone', { hostId: 'gone' }, 'nowhere'],
  [
    'a policy that allows no child job',
    { policy: Policy.parse({ maxPortsPerProxy: 0 }) },
    'maxPortsPerProxy',
  ],
])('%s is refused with the reason and a way out', async (name, fields, named) => {
  const refusal = refusalOf(await triggerAndPlan(backup(name, fields))).at(-1);
  expect(refusal).toMatchObject({
    code: expect.any(String),
    message: expect.stringContaining(named),
    wayOut: expect.any(String),
  });
});

test('a plan that is given up is refused with the reason', async () => {
  const cursed = backup('given up', { hostId: 'cursed' });
  expect(refusalOf(await triggerAndPlan(cursed))).toMatchObject([
    { code: 'PlanningFailed', message: expect.stringMatching(/vm web-1 on host cursed .*never be read/) },
  ]);
});

test('a triggered recovery is planned from its restore point and a real host, and refused where there is none', async () => {
  const backupId = derivedId('backup', 'restored');
  const made = await openRepository({ location: join(directory, 'repository'), workers: 1 });
  const stored = await storeDisks(made, backupId, { vda: '.##.####', vdb: '....' });
  await made.close();

  const triggered = recoveryOf(stored, { mode: 'proxy-vm' });
  const [inspected, calculated] = await triggerAndPlanRecovery(triggered);
  expect(inspected).toMatchObject({ type: 'RecoveryInspected', data: { backupId, vmId: 'web-2' } });
  expect(calculated).toMatchObject({
    type: 'RecoveryProxiesCalculated',
    metadata: { actor: 'planner' },
    data: {
      arithmetic: { totalBytes: 6 * 4 * MiB, streams: 4, activeProxies: 1 },
      disks: [
        { diskId: 'vda', streams: 2 },
        { diskId: 'vdb', streams: 1 },
      ],
      proxies: 1,
      expectedShared: 1,
    },
  });

  const lost = {
    ...triggered,
    recoveryId: derivedId('recovery', 'lost'),
    backupId: derivedId('backup', 'lost'),
  };
  expect(await triggerAndPlanRecovery(lost)).toMatchObject([
    { type: 'RecoveryPlanRefused', data: { refusal: { code: 'RestorePointMissing' } } },
  ]);
});

test('a backup that is paused is planned when it goes on, and one that is to end is not', async () => {
  const by = { reason: 'none', hostId: 'lab', vmId: 'web-1' };
  const at = new Date().toISOString();
  const [paused, cancelled] = [backup('paused'), backup('cancelled')];
  await trigger.append(
    `backup-${paused.backupId}`,
    { type: 'BackupTriggered', data: paused },
    {
      type: 'BackupPaused',
      data: { backupId: paused.backupId, ...by, number: 1, pausedBy: 'ops', pausedAt: at },
    },
  );
  await trigger.append(
    `backup-${cancelled.backupId}`,
    { type: 'BackupTriggered', data: cancelled },
    {
      type: 'BackupCancelOrdered',
      data: { backupId: cancelled.backupId, ...by, cancelledBy: 'ops', orderedAt: at },
    },
  );
  // Heard in order: when a later one is planned, these were looked at.
  await triggerAndPlan(backup('later'));
  const plan = (runId: string) => Array.fromAsync(planner.store.readStream(planStream(runId)));
  expect([...(await plan(paused.backupId)), ...(await plan(cancelled.backupId))]).toEqual([]);
  await trigger.append(`backup-${paused.backupId}`, {
    type: 'BackupResumed',
    data: { backupId: paused.backupId, ...by, number: 2, resumedBy: 'ops', resumedAt: at },
  });
  expect((await planOf<BackupPlanEvent>(paused.backupId, backupPlan.decisions)).at(-1)).toMatchObject({
    type: 'ProxiesCalculated',
  });
});

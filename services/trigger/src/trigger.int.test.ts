/** The trigger against a real log and a real NATS; the other services speak through their own streams, as they would. */
import type { Event, EventData, Purpose, Recorded, RequestName, StreamName } from '@backhaul/contracts';
import { eventually } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging, type TestService } from '@backhaul/messaging/testing';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { at, backupIdOf, old, recoveryIdOf, restorePointOf } from './core/requests.fixture.ts';
import { runStream } from './core/run.ts';
import { scheduleStream } from './core/schedule.ts';
import { askOverNats, callOverHttp, type RequestBody, startTrigger } from './trigger.fixture.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: TestService;
let ingest: TestService;
let proxyManager: TestService;
let planner: TestService;
let exporter: TestService;
let http: FastifyInstance;
const stopSchedulers = new AbortController();
const schedulers: Promise<void>[] = [];

beforeAll(async () => {
  servers = await openTestMessaging();
  [ingest, proxyManager, planner, exporter] = (await Promise.all(
    (['ingest', 'proxy-manager', 'planner', 'export'] as const).map((name) => servers.connect(name)),
  )) as [TestService, TestService, TestService, TestService];
  ({ service: trigger, http } = await startTrigger(servers));
});

afterAll(async () => {
  stopSchedulers.abort();
  await Promise.all(schedulers);
  await http?.close();
  await servers?.close();
});

const story = async (correlation: string) => (await trigger.store.readLog(0, { correlation })).events;

const typesOf = (events: readonly Recorded[]) => events.map(({ type }) => type);

const eventsOf = async (stream: StreamName) => (await trigger.store.readStreamPage(stream)).events;

const backupEvents = (requestId: string) => eventsOf(runStream('backup', backupIdOf(requestId)));

const ask = (body: RequestBody, name: RequestName = 'BackupRequested') => askOverNats(trigger, name, body);

const post = (body: unknown, headers: Record<string, string> = {}) =>
  callOverHttp(http, 'POST', '/api/v1/backups', body, headers);

/** How ingest and the proxy-manager end a backup. */
const completedData = (requestId: string): EventData<'BackupCompleted'> => ({
  ...{ backupId: backupIdOf(requestId), hostId: 'lab', vmId: 'any', kind: 'full', mode: 'proxy-vm' },
  totals: { diskBytes: 0, readBytes: 0, storedBytes: 0, zeroBytes: 0, chunks: 0, newChunks: 0 },
  restorePoint: restorePointOf(requestId),
  completedAt: at,
});
const runClosed = (runId: string, purpose: Purpose = 'backup'): Event => ({
  type: 'RunClosed',
  data: { hostId: 'lab', runId, purpose, outcome: 'completed' },
});

describe('the same request', () => {
  test('over NATS and HTTP, mixed and at once, is one backup with one answer', async () => {
    const body = { requestId: 'same-1', host: 'lab', vm: 'mixed' };
    const { answer } = trigger.messaging.awaitAnswer('same-1', 15_000);
    const replies = await Promise.all([
      ...[1, 2, 3].map((n) => trigger.messaging.request('BackupRequested', body, `same-1-${n}`)),
      ...[1, 2, 3].map(() => post({ host: 'lab', vm: 'mixed' }, { 'idempotency-key': 'same-1' })),
    ]);
    const expected = { requestId: 'same-1', outcome: 'accepted', backupId: backupIdOf('same-1') };
    expect(await answer).toEqual(expected);
    for (const reply of replies.slice(3)) {
      expect(reply).toMatchObject({ statusCode: 202 });
      expect(JSON.parse((reply as { body: string }).body)).toEqual(expected);
    }
    expect(await ask(body)).toEqual(expected);
    expect(typesOf(await story(backupIdOf('same-1')))).toEqual(['VmClaimed', 'BackupTriggered']);
  });

  test('id with another content is refused, and both are on record', async () => {
    await ask({ requestId: 'reused', host: 'lab', vm: 'reused-1' });
    const other = await post({ requestId: 'reused', host: 'lab', vm: 'reused-2' });
    expect(other.statusCode).toBe(422);
    const problem = other.json();
    expect(problem).toMatchObject({
      code: 'RequestIdReused',
      requestId: 'reused',
      wayOut: expect.any(String),
    });
    expect(other.headers['content-type']).toMatch('application/problem+json');
    expect(typesOf(await story(problem.backupId))).toEqual(['BackupRefused']);
    expect(typesOf(await backupEvents('reused'))).toEqual(['BackupTriggered']);
  });
});

describe('a request that cannot be done', () => {
  test('is refused by an event, and answered with code and way out', async () => {
    for (const [requestId, fields, code] of [
      ['unknown-host', { host: 'elsewhere' }, 'UnknownHost'],
      ['unknown-policy', { policy: 'platinum' }, 'UnknownPolicy'],
    ] as const) {
      const answer = await ask({ requestId, host: 'lab', vm: 'web-9', ...fields });
      expect(answer).toMatchObject({ outcome: 'refused', refusal: { code, wayOut: expect.any(String) } });
      expect(typesOf(await backupEvents(requestId))).toEqual(['BackupRefused']);
    }
  });
});

describe('backups of one VM', () => {
  test('take turns: the next starts when the first has an outcome and its run is closed, and builds on it', async () => {
    await ask({ requestId: 'turn-1', host: 'lab', vm: 'turns' });
    await ask({ requestId: 'turn-2', host: 'lab', vm: 'turns' });
    expect(typesOf(await backupEvents('turn-2'))).toEqual(['BackupQueued']);

    const { answer } = trigger.messaging.awaitAnswer('turn-1', 15_000);
    await ingest.append(`transfer-${backupIdOf('turn-1')}`, {
      type: 'BackupCompleted',
      data: completedData('turn-1'),
    });
    expect(await answer).toMatchObject({ outcome: 'completed', backupId: backupIdOf('turn-1') });
    expect(await ask({ requestId: 'turn-1', host: 'lab', vm: 'turns' }), 'who missed it').toEqual(
      await answer,
    );
    expect(typesOf(await backupEvents('turn-2'))).toEqual(['BackupQueued']);

    await proxyManager.append('host-lab', runClosed(backupIdOf('turn-1')));
    const second = await eventually('the second backup starting', 15_000, async () => {
      const events = await backupEvents('turn-2');
      return events.length === 2 ? events : undefined;
    });
    expect(second[1]).toMatchObject({
      type: 'BackupTriggered',
      data: { parent: { backupId: backupIdOf('turn-1') } },
      metadata: { correlation: backupIdOf('turn-2') },
    });
    expect(typesOf(await story(backupIdOf('turn-2')))).toEqual([
      'VmAwaited',
      'BackupQueued',
      'VmClaimed',
      'BackupTriggered',
    ]);
  });

  test('go on when a plan was refused, and its requester is told', async () => {
    await ask({ requestId: 'plan-1', host: 'lab', vm: 'plans' });
    await ask({ requestId: 'plan-2', host: 'lab', vm: 'plans' });
    const { answer } = trigger.messaging.awaitAnswer('plan-1', 15_000);
    const refusal = { code: 'ImageCorrupt', message: 'Disk vda cannot be read.' };
    const backupId = backupIdOf('plan-1');
    await planner.append(`plan-${backupId}`, {
      type: 'PlanRefused',
      data: { backupId, hostId: 'lab', vmId: 'plans', refusal },
    });
    expect(await answer).toMatchObject({ outcome: 'refused', refusal });
    expect(await ask({ requestId: 'plan-1', host: 'lab', vm: 'plans' })).toEqual(await answer);
    await eventually('the second backup starting', 15_000, async () =>
      (await backupEvents('plan-2')).length === 2 ? true : undefined,
    );
  });

  test('that wait leave the line when they are cancelled, and those that run are ordered to end', async () => {
    await ask({ requestId: 'cancel-1', host: 'lab', vm: 'cancels' });
    await ask({ requestId: 'cancel-2', host: 'lab', vm: 'cancels' });
    const { answer } = trigger.messaging.awaitAnswer('cancel-2', 15_000);
    const cancel = (requestId: string) =>
      http.inject({ method: 'DELETE', url: `/api/v1/backups/${backupIdOf(requestId)}` });
    expect(await cancel('cancel-2')).toMatchObject({ statusCode: 200 });
    expect(await answer).toMatchObject({ outcome: 'refused', refusal: { code: 'BackupCancelled' } });
    expect(await cancel('cancel-2')).toMatchObject({ statusCode: 200 });
    expect(await cancel('cancel-1')).toMatchObject({ statusCode: 200 });
    expect(await cancel('cancel-1')).toMatchObject({ statusCode: 200 });
    expect(typesOf(await backupEvents('cancel-1'))).toEqual(['BackupTriggered', 'BackupCancelOrdered']);
    expect(await cancel('never-asked')).toMatchObject({ statusCode: 404 });
  });
});

describe('a recovery', () => {
  const backup = backupIdOf('old');
  const wish = { backup, host: 'lab', vm: 'new-1', disks: ['vda'] };
  const callFor = (method: 'POST' | 'DELETE', path: string, body: object, key: string) =>
    callOverHttp(http, method, `/api/v1/recoveries${path}`, body, { 'idempotency-key': key });

  test('of what is no restore point is refused on record', async () => {
    const reply = await callFor('POST', '', wish, 'too-soon');
    const recoveryId = recoveryIdOf('too-soon');
    expect(reply.json()).toMatchObject({ status: 422, code: 'UnknownRestorePoint', recoveryId });
    expect(typesOf(await story(recoveryId))).toEqual(['RecoveryRefused']);
  });

  test('has the turn at its VM until it has ended and its run is closed; others wait, or are cancelled', async () => {
    await ingest.append(`transfer-${backup}`, {
      type: 'BackupCompleted',
      data: { ...completedData('old'), ...old.source, restorePoint: old.restorePoint },
    });
    const recoveryId = recoveryIdOf('back');
    const accepted = { requestId: 'back', outcome: 'accepted', recoveryId };
    expect(await ask({ requestId: 'back', ...wish }, 'RecoveryRequested')).toEqual(accepted);
    const again = await callFor('POST', '', wish, 'back');
    expect([again.statusCode, again.json()]).toEqual([202, accepted]);
    const [triggered] = await eventsOf(runStream('recovery', recoveryId));
    expect(triggered).toMatchObject({ type: 'RecoveryTriggered', data: { ...old, disks: ['vda'] } });

    const next = recoveryIdOf('next');
    expect(await callFor('POST', '', wish, 'next')).toMatchObject({ statusCode: 202 });
    await ask({ requestId: 'after', host: 'lab', vm: 'new-1' });
    const told = trigger.messaging.awaitAnswer('next', 15_000);
    expect(await callFor('DELETE', `/${next}`, {}, 'cancel-1')).toMatchObject({ statusCode: 200 });
    expect(await told.answer).toMatchObject({ refusal: { code: 'RecoveryCancelled' } });

    const { answer } = trigger.messaging.awaitAnswer('back', 15_000);
    const refusal = { code: 'DiskFull', message: 'There is no room for disk vda.' };
    const of = { hostId: 'lab', vmId: 'new-1' };
    await exporter.append(`export-${recoveryId}`, {
      type: 'RecoveryFailed',
      data: { recoveryId, ...of, refusal, alternative: null, failedAt: at },
    });
    expect(await answer).toEqual({ requestId: 'back', outcome: 'failed', recoveryId, refusal });
    expect(typesOf(await backupEvents('after'))).toEqual(['BackupQueued']);
    await proxyManager.append('host-lab', runClosed(recoveryId, 'recovery'));
    await eventually('the backup starting', 15_000, async () => (await story(backupIdOf('after')))[3]);

    await callFor('POST', '', wish, 'later');
    const backupId = backupIdOf('after');
    const noPlan: Event = { type: 'PlanRefused', data: { backupId, ...of, refusal } };
    await planner.append(`plan-${backupId}`, noPlan);
    const later = await eventually('the other recovery starting', 15_000, async () => {
      const events = await eventsOf(runStream('recovery', recoveryIdOf('later')));
      return events[1] && (await story(recoveryIdOf('later')));
    });
    expect(typesOf(later)).toEqual(['VmAwaited', 'RecoveryQueued', 'VmClaimed', 'RecoveryTriggered']);
    expect(typesOf(await story(recoveryId))).toEqual([
      ...['VmClaimed', 'RecoveryTriggered', 'VmRecoveryEnded', 'VmRunClosed', 'VmReleased'],
    ]);
  });
});

describe('policies and schedules', () => {
  const put = (url: string, body: unknown) => callOverHttp(http, 'PUT', url, body);

  test('a policy that was defined is used by the backups asked for afterwards', async () => {
    expect(await put('/api/v1/policies/gold', { maxProxiesPerHost: 3 })).toMatchObject({ statusCode: 200 });
    await ask({ requestId: 'gold-1', host: 'lab', vm: 'golden', policy: 'gold' });
    expect((await backupEvents('gold-1'))[0]).toMatchObject({
      data: { policy: { policyId: 'gold', maxProxiesPerHost: 3 } },
    });
  });

  test('a policy that makes no sense is refused with every reason', async () => {
    const reply = await put('/api/v1/policies/bad', { childJobBytes: 5, maxProxyPerHost: 1 });
    expect(reply.statusCode).toBe(422);
    expect(reply.json().detail).toMatch(/childJobBytes: must be a multiple of 4 MiB.*maxProxyPerHost/s);
  });

  test('a schedule that cannot be read is refused', async () => {
    const reply = await put('/api/v1/schedules/odd', { cron: 'whenever', host: 'lab', vm: 'odd' });
    expect(reply.json()).toMatchObject({ status: 422, code: 'InvalidSchedule' });
  });

  test('a due time is fired once, with two triggers running', async () => {
    const other = await startTrigger(servers);
    const first = await startTrigger(servers);
    expect(
      await put('/api/v1/schedules/often', { cron: '* * * * * *', host: 'lab', vm: 'often' }),
    ).toMatchObject({ statusCode: 200 });
    for (const each of [other, first]) schedulers.push(each.runSchedules(stopSchedulers.signal));
    const fired = await eventually('three due times', 15_000, async () => {
      const { events } = await trigger.store.readStreamPage(scheduleStream('often'));
      const found = events.filter(({ type }) => type === 'ScheduleFired') as Recorded<'ScheduleFired'>[];
      return found.length >= 3 ? found : undefined;
    });
    const dueTimes = fired.map(({ data }) => data.dueAt);
    expect(dueTimes).toEqual([...new Set(dueTimes)].toSorted());
    // The first is running and the second waits: a third would be no use while the second has not started.
    const backups = new Set(fired.map(({ data }) => data.backupId));
    expect(backups.size).toBe(2);
    await http.inject({ method: 'DELETE', url: '/api/v1/schedules/often' });
  });

  test('due times that were missed while no trigger ran are made up for by the latest, once', async () => {
    const yesterday = new Date(Date.now() - 86_400_000).toISOString();
    await trigger.append(scheduleStream('missed'), {
      type: 'ScheduleDefined',
      data: {
        scheduleId: 'missed',
        cron: '0 * * * *',
        timeZone: 'UTC',
        hostId: 'lab',
        vmId: 'missed',
        kind: 'auto',
        policyId: 'default',
        definedAt: yesterday,
      },
    });
    const backupId = await eventually('the missed schedule firing', 15_000, async () => {
      const { events } = await trigger.store.readStreamPage(scheduleStream('missed'));
      const fired = events.filter(({ type }) => type === 'ScheduleFired') as Recorded<'ScheduleFired'>[];
      return fired[0]?.data.backupId;
    });
    const { events } = await trigger.store.readStreamPage(runStream('backup', backupId));
    expect(typesOf(events)).toEqual(['BackupTriggered']);
    expect(events[0]).toMatchObject({ data: { origin: { via: 'schedule', scheduleId: 'missed' } } });
  });
});

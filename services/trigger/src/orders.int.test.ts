/** Cancel, pause and resume as they come from outside, over HTTP and over NATS, against a real log. */
import type { Event, Recorded } from '@backhaul/contracts';
import { openTestMessaging, type TestMessaging } from '@backhaul/messaging/testing';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { at, backupIdOf } from './core/requests.fixture.ts';
import { runStream } from './core/run.ts';
import { askOverNats, callOverHttp, startTrigger } from './trigger.fixture.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let trigger: Awaited<ReturnType<typeof startTrigger>>;

beforeAll(async () => {
  servers = await openTestMessaging();
  trigger = await startTrigger(servers);
});
afterAll(async () => {
  await trigger?.http.close();
  await servers?.close();
});

const eventsOf = async (requestId: string): Promise<readonly Recorded[]> =>
  (await trigger.service.store.readStreamPage(runStream('backup', backupIdOf(requestId)))).events;
const typesOf = async (requestId: string): Promise<string[]> =>
  (await eventsOf(requestId)).map(({ type }: Event) => type);
const ask = (requestId: string, vm: string) =>
  askOverNats(trigger.service, 'BackupRequested', { requestId, host: 'lab', vm });
const call = (requestId: string, order: 'pause' | 'resume', key: string, body: object = {}) =>
  callOverHttp(trigger.http, 'POST', `/api/v1/backups/${backupIdOf(requestId)}/${order}`, body, {
    'idempotency-key': key,
  });

describe('a backup', () => {
  test('pauses and goes on over HTTP and over NATS, and the same request again is the same order', async () => {
    await ask('o1', 'web-1');
    const body = { reason: 'the host is busy', requestedBy: 'ops' };
    expect((await call('o1', 'pause', 'p1', body)).json()).toEqual({
      requestId: 'p1',
      outcome: 'accepted',
      backupId: backupIdOf('o1'),
    });
    expect(await call('o1', 'pause', 'p2')).toMatchObject({ statusCode: 200 });
    const resume = { requestId: 'n1', backupId: backupIdOf('o1') };
    expect(await askOverNats(trigger.service, 'BackupResumeRequested', resume)).toMatchObject({
      outcome: 'accepted',
    });
    // Told late, or twice, the first order is none any more.
    expect(await call('o1', 'pause', 'p1', body)).toMatchObject({ statusCode: 200 });
    expect(await typesOf('o1')).toEqual(['BackupTriggered', 'BackupPaused', 'BackupResumed']);
    expect((await eventsOf('o1'))[1]).toMatchObject({
      data: { number: 1, pausedBy: 'ops', reason: 'the host is busy' },
      metadata: { correlation: backupIdOf('o1'), actor: 'ops' },
    });
    const pause = { requestId: 'n2', backupId: backupIdOf('o1') };
    expect(await askOverNats(trigger.service, 'BackupPauseRequested', pause)).toMatchObject({
      outcome: 'accepted',
    });
    expect((await eventsOf('o1')).at(-1)).toMatchObject({ type: 'BackupPaused', data: { number: 3 } });
  });

  test('that has started is ordered to end over NATS, and is neither paused nor resumed then', async () => {
    await ask('o2', 'web-2');
    const cancel = { requestId: 'c1', backupId: backupIdOf('o2'), reason: 'the window is over' };
    expect(await askOverNats(trigger.service, 'BackupCancellationRequested', cancel)).toMatchObject({
      outcome: 'accepted',
    });
    expect((await call('o2', 'pause', 'p3')).json()).toMatchObject({ status: 409, code: 'BackupCancelled' });
    expect(await typesOf('o2')).toEqual(['BackupTriggered', 'BackupCancelOrdered']);
  });

  test('that has ended is left as it is', async () => {
    await ask('o3', 'web-3');
    const backupId = backupIdOf('o3');
    const ingest = await servers.connect('ingest');
    const refusal = { code: 'ImageCorrupt', message: 'Disk vda cannot be read.' };
    await ingest.append(`transfer-${backupId}`, {
      type: 'BackupFailed',
      data: { backupId, hostId: 'lab', vmId: 'web-3', refusal, failedAt: at },
    });
    expect((await call('o3', 'pause', 'p4')).json()).toMatchObject({
      ...{ status: 409, code: 'AlreadyEnded' },
      message: expect.stringContaining('Disk vda cannot be read.'),
    });
    expect(await typesOf('o3')).toEqual(['BackupTriggered']);
  });
});

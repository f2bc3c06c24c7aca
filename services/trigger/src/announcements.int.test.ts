/** Due times that are announced before they come, on a real log and a real NATS, by two triggers at once. */
import type { EventType, Recorded } from '@backhaul/contracts';
import { eventually } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging } from '@backhaul/messaging/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { scheduleStream } from './core/schedule.ts';
import { callOverHttp, startTrigger } from './trigger.fixture.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let servers: TestMessaging;
let triggers: Awaited<ReturnType<typeof startTrigger>>[] = [];
const schedulers: Promise<void>[] = [];
const stop = new AbortController();

beforeAll(async () => {
  servers = await openTestMessaging();
  triggers = [await startTrigger(servers), await startTrigger(servers)];
  for (const each of triggers) schedulers.push(each.runSchedules(stop.signal));
});

afterAll(async () => {
  stop.abort();
  await Promise.all(schedulers);
  for (const { http } of triggers) await http.close();
  await servers?.close();
});

const call = (method: 'PUT' | 'PATCH', url: string, body: object) => {
  const [first] = triggers;
  if (first === undefined) throw new Error('No trigger runs');
  return callOverHttp(first.http, method, url, body);
};
const ofSchedule = async <T extends EventType>(scheduleId: string, type: T): Promise<Recorded<T>[]> => {
  const page = await triggers[0]?.service.store.readStreamPage(scheduleStream(scheduleId));
  return (page?.events ?? []).filter((event) => event.type === type) as unknown as Recorded<T>[];
};

test('a due time is announced once, before it comes, with the id of the backup that it asks for; a distant one is not', async () => {
  expect(await call('PATCH', '/api/v1/host-policies/lab', { preStartMinutes: 2 })).toMatchObject({
    statusCode: 200,
  });
  const distant = { cron: '0 0 29 2 *', host: 'lab', vm: 'web' };
  expect(await call('PUT', '/api/v1/schedules/far', distant)).toMatchObject({ statusCode: 200 });
  expect(await call('PUT', '/api/v1/schedules/near', { ...distant, cron: '*/5 * * * * *' })).toMatchObject({
    statusCode: 200,
  });
  const told = await eventually('two announcements', 30_000, async () => {
    const announced = await ofSchedule('near', 'ScheduleApproaching');
    return announced.length >= 2 ? announced : undefined;
  });
  const dueTimes = told.map(({ data }) => data.dueAt);
  expect(dueTimes).toEqual([...new Set(dueTimes)].toSorted());

  const [first] = told;
  // Not the first that fired at all: one that came before anybody could announce it is not announced.
  const fired = await eventually('The announced time', 30_000, async () =>
    (await ofSchedule('near', 'ScheduleFired')).find(({ data }) => data.dueAt === first?.data.dueAt),
  );
  expect(first?.data).toMatchObject({ vmId: 'web', backupId: fired.data.backupId });
  expect(Date.parse(first?.recordedAt ?? '')).toBeLessThan(Date.parse(first?.data.dueAt ?? ''));
  expect(await ofSchedule('far', 'ScheduleApproaching')).toEqual([]);
});

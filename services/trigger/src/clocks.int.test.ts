/** Clocks that are ahead for a while, on a real log: the schedules of the machine's, of the log's, and of an earlier release's. */
import type { Event, EventType, Recorded } from '@backhaul/contracts';
import { logTime } from '@backhaul/event-store';
import { eventually } from '@backhaul/kernel';
import { openTestMessaging, type TestMessaging } from '@backhaul/messaging/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { backupIdOf } from './core/requests.fixture.ts';
import { scheduleStream } from './core/schedule.ts';
import { callOverHttp, startTrigger } from './trigger.fixture.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

type Trigger = Awaited<ReturnType<typeof startTrigger>>;

let servers: TestMessaging;
let trigger: Trigger;
let scheduler: Promise<void>;
const stop = new AbortController();
const later = '2130-01-05T02:00:00.000Z';
/** Set: what the scheduler is told to be the time of the log. */
let logIsAhead = false;

beforeAll(async () => {
  servers = await openTestMessaging();
  trigger = await startTrigger(servers, {
    now: () => later,
    time: async () => (logIsAhead ? later : await logTime(trigger.service.store)),
  });
  scheduler = trigger.runSchedules(stop.signal);
});

afterAll(async () => {
  stop.abort();
  await scheduler;
  await trigger?.http.close();
  await servers?.close();
});

const define = (scheduleId: string, cron = '* * * * * *') =>
  callOverHttp(trigger.http, 'PUT', `/api/v1/schedules/${scheduleId}`, { cron, host: 'lab', vm: scheduleId });

const ofType = async <T extends EventType>(scheduleId: string, type: T): Promise<Recorded<T>[]> => {
  const { events } = await trigger.service.store.readStreamPage(scheduleStream(scheduleId));
  return events.filter((event) => event.type === type) as unknown as Recorded<T>[];
};

const firesNow = async (scheduleId: string, since: string): Promise<void> => {
  await eventually(`schedule ${scheduleId} firing`, 20_000, async () => {
    const fired = await ofType(scheduleId, 'ScheduleFired');
    return fired.some(({ data }) => data.dueAt > since && data.dueAt < later) ? true : undefined;
  });
};

test('the clock of the trigger’s machine decides nothing: what is defined and fired is of the log’s time', async () => {
  const before = await logTime(trigger.service.store);
  expect(await define('here')).toMatchObject({ statusCode: 200 });
  await firesNow('here', before);
  const [defined] = await ofType('here', 'ScheduleDefined');
  expect(defined?.data.definedAt.slice(0, 10)).toBe(before.slice(0, 10));
  for (const { data, recordedAt } of await ofType('here', 'ScheduleFired')) {
    expect(data.dueAt <= recordedAt).toBe(true);
    expect(data.firedAt <= recordedAt).toBe(true);
  }
});

test('a schedule that an earlier release left in the future is set back, says so, and fires again', async () => {
  const store = trigger.service.store;
  const before = await logTime(store);
  const scheduleId = 'left-behind';
  const story: Event[] = [
    {
      type: 'ScheduleDefined',
      data: {
        ...{ scheduleId, cron: '* * * * * *', timeZone: 'UTC', hostId: 'lab', vmId: scheduleId },
        ...{ kind: 'auto', policyId: 'default', definedAt: '2026-01-01T00:00:00.000Z' },
      },
    },
    {
      type: 'ScheduleFired',
      data: { scheduleId, dueAt: later, firedAt: later, backupId: backupIdOf('an earlier one') },
    },
  ];
  await trigger.service.append(scheduleStream(scheduleId), ...story);
  await firesNow(scheduleId, before);
  expect((await ofType(scheduleId, 'ScheduleSetBack')).map(({ data }) => data)).toEqual([
    { scheduleId, from: later, to: null, setBackAt: expect.any(String) },
  ]);
});

test('a clock of the log that is ahead for a while fires once, and everything goes on when it is right again', async () => {
  expect(await define('yearly', '0 0 1 1 *')).toMatchObject({ statusCode: 200 });
  expect(await define('often')).toMatchObject({ statusCode: 200 });
  await firesNow('often', await logTime(trigger.service.store));
  logIsAhead = true;
  await eventually('both firing in the future', 20_000, async () => {
    const fired = [...(await ofType('yearly', 'ScheduleFired')), ...(await ofType('often', 'ScheduleFired'))];
    return fired.filter(({ data }) => data.dueAt >= '2130').length === 2 ? true : undefined;
  });
  logIsAhead = false;
  const corrected = await logTime(trigger.service.store);
  await firesNow('often', corrected);
  const fired = (await ofType('often', 'ScheduleFired')).map(({ data }) => data.dueAt);
  const [setBack] = await ofType('often', 'ScheduleSetBack');
  expect(fired, 'each due time once').toEqual([...new Set(fired)]);
  expect(setBack?.data.from).toBe(later);
  expect(setBack?.data.to, 'the newest due time that was fired before').toBe(fired[fired.indexOf(later) - 1]);
  const yearly = await eventually('the yearly one standing as it should', 20_000, async () => {
    const events = await ofType('yearly', 'ScheduleSetBack');
    return events.length > 0 ? events : undefined;
  });
  expect(yearly.map(({ data }) => data)).toMatchObject([{ from: '2130-01-01T00:00:00.000Z', to: null }]);
  expect(await ofType('yearly', 'ScheduleFired'), 'it is not due now').toHaveLength(1);
});

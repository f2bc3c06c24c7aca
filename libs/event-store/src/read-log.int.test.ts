import { liftRecord, type Recorded } from '@backhaul/contracts';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { EventStore, LogPage } from './event-store.ts';
import { context, proxyIdle, vmClaimed } from './examples.fixture.ts';
import { tail } from './tail.ts';
import { openTestStore, type TestStore } from './testing.ts';

let server: TestStore;
let host: EventStore;
let vm: EventStore;
const stored: Recorded[] = [];
beforeAll(async () => {
  server = await openTestStore();
  [host, vm] = [await server.store('proxy-manager'), await server.store('trigger')];
  for (let i = 0; i < 10; i += 1) {
    const result =
      i % 5 === 0
        ? await vm.append(
            [{ stream: `vm-h1.v${i}`, expected: 'none', events: [vmClaimed('v1')] }],
            context(undefined, 'rare'),
          )
        : await host.append(
            [{ stream: 'host-h1', expected: 'any', events: [proxyIdle(`p${i}`)] }],
            context(undefined, `c${i}`),
          );
    if (result.ok) stored.push(...result.value.events);
  }
}, 60_000);
afterAll(() => server?.close(), 60_000);

/** Its events are taken apart only when they are looked at. */
const whole = ({ events, next, highWater }: LogPage): LogPage => ({ events, next, highWater });

describe('a page of the log', () => {
  test('holds at most the limit, in order, and says where to read on', async () => {
    const first = await host.readLog(0, { limit: 4 });
    expect(first.events).toEqual(stored.slice(0, 4));
    expect(first.next).toBe(4);
    const second = await host.readLog(first.next, { limit: 100 });
    expect(second.events).toEqual(stored.slice(4));
    expect(second).toMatchObject({ next: 10, highWater: 10 });
    expect(whole(await host.readLog(10))).toEqual({ events: [], next: 10, highWater: 10 });
  });

  test('of some categories, types or one correlation moves over all others', async () => {
    const claims = stored.filter((event) => event.category === 'vm');
    const page = { events: claims, next: 10 };
    expect(whole(await host.readLog(0, { categories: ['vm'] }))).toMatchObject(page);
    expect(whole(await host.readLog(0, { types: ['VmClaimed'] }))).toMatchObject(page);
    expect(whole(await host.readLog(0, { correlation: 'rare' }))).toMatchObject(page);
    expect(whole(await host.readLog(0, { correlation: 'rare', categories: ['host'] }))).toEqual({
      events: [],
      next: 10,
      highWater: 10,
    });
    expect(whole(await host.readLog(0, { categories: ['vm'], limit: 1 }))).toMatchObject({
      events: [claims[0]],
      next: 1,
    });
  });

  test('is read as it is stored, without the types that are passed over', async () => {
    const { records, next, highWater } = await host.readStoredLog(0, { except: ['VmClaimed'] });
    expect([next, highWater]).toEqual([10, 10]);
    expect(records.map(liftRecord)).toEqual(stored.filter(({ type }) => type !== 'VmClaimed'));
    expect((await host.readStoredLog(0, { limit: 3 })).next).toBe(3);
  });

  test('shows what another process has committed before the call', async () => {
    const reader = await server.store('console');
    for (let i = 0; i < 20; i += 1) {
      const [page, appended] = [
        reader.readLog(0),
        await host.append([{ stream: 'host-h2', expected: 'any', events: [proxyIdle('p')] }], context()),
      ];
      await page;
      const after = await reader.readLog(0);
      expect(appended.ok && after.events.at(-1)).toEqual(appended.ok && appended.value.events[0]);
    }
  });
});

describe('a tail', () => {
  test('gives what is there, then what comes, woken by appends of its process long before its poll', async () => {
    const over = new AbortController();
    onTestFinished(() => over.abort());
    const pages = tail(host, { after: 0, signal: over.signal, limit: 5, idleMilliseconds: 30_000 });
    const seen: Recorded[] = [];
    const until = async (count: number): Promise<void> => {
      while (seen.length < count) seen.push(...((await pages.next()).value?.events ?? []));
    };
    const before = (await host.readLog(0)).events.length;
    await until(before);
    const waiting = until(before + 1);
    await host.append([{ stream: 'host-h3', expected: 'none', events: [proxyIdle('p')] }], context());
    await waiting;
    expect(seen.at(-1)?.stream).toBe('host-h3');
    expect(seen.map((event) => event.position)).toEqual(seen.map((_, index) => index + 1));
  });

  test('ends when it is told to, also in the middle of a wait', async () => {
    const over = new AbortController();
    const after = (await host.readLog(0)).next;
    const pages = tail(host, { after, signal: over.signal, idleMilliseconds: 30_000 });
    const ended = pages.next();
    over.abort();
    expect(await ended).toEqual({ done: true, value: undefined });
  });
});

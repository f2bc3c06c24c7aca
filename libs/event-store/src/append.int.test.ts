import { createHash } from 'node:crypto';
import type { StreamName } from '@backhaul/contracts';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EventStore, Expectation } from './event-store.ts';
import { all, context, proxyIdle, vmClaimed } from './examples.fixture.ts';
import { openTestStore, type TestStore } from './testing.ts';

let server: TestStore;
let store: EventStore;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('proxy-manager');
}, 60_000);
afterAll(() => server?.close(), 60_000);

let streams = 0;
const newStream = (): StreamName => {
  streams += 1;
  return `host-append${streams}`;
};
const appendOne = (stream: StreamName, expected: Expectation, commandId?: string) =>
  store.append([{ stream, expected, events: [proxyIdle('p1')] }], context(commandId));

describe('an append', () => {
  test('answers exactly what is read back later', async () => {
    const stream = newStream();
    const events = [proxyIdle('p1'), proxyIdle('naïve \u0000 \ud800 "quoted" \\ 😀')];
    const result = await store.append([{ stream, expected: 'none', events }], {
      commandId: 'exactly',
      metadata: { correlation: 'c', causation: 'x', traceparent: '00-ab-cd-01', actor: 'line\nbreak' },
    });
    expect(result.ok && result.value.duplicate).toBe(false);
    expect(result.ok && result.value.events).toEqual(await all(store.readStream(stream)));
    expect(result.ok && result.value.events[0]?.metadata.actor).toBe('line break');
    expect(result.ok && result.value.events.map(({ version, data }) => [version, data])).toEqual([
      [1, events[0]?.data],
      [2, events[1]?.data],
    ]);
  });

  test('leaves a hash of its content that anybody can work out again', async () => {
    const stream = newStream();
    const metadata = { correlation: 'c "1"', causation: 'é😀\u0007\\', actor: 'a\tb' };
    const events = [proxyIdle('naïve \u0000 \ud800 😀'), proxyIdle('p2')];
    await store.append([{ stream, expected: 'none', events }], { commandId: 'hashed', metadata });
    await store.append([{ stream, expected: 2, events: [proxyIdle('alone \u0000 \ud800 😀')] }], {
      commandId: 'one',
      metadata,
    });
    const rows = await store.kysely
      .selectFrom('events')
      .select(['event_id', 'content_hash', sql<string>`data::text`.as('data')])
      .where('stream_id', '=', stream)
      .orderBy('version')
      .execute();
    expect(rows).toHaveLength(3);
    for (const [index, row] of rows.entries()) {
      const { correlation, causation, actor } = metadata;
      const content = [
        correlation,
        causation,
        '',
        actor,
        row.event_id,
        stream,
        index + 1,
        'ProxyIdle',
        1,
        row.data,
      ];
      expect(row.content_hash.toString('hex')).toBe(
        createHash('sha256').update(content.join('\n')).digest('hex'),
      );
    }
  });

  test.each<[Expectation, number, boolean]>([
    [0, 0, true],
    [0, 1, false],
    ['none', 0, true],
    ['none', 1, false],
    [1, 1, true],
    [1, 0, false],
    [1, 2, false],
    ['exists', 0, false],
    ['exists', 1, true],
    ['any', 0, true],
    ['any', 2, true],
  ])('that expects %s of a stream at version %i: accepted %s', async (expected, version, accepted) => {
    const stream = newStream();
    for (let i = 0; i < version; i += 1) await appendOne(stream, i);
    const result = await appendOne(stream, expected);
    expect(result.ok).toBe(accepted);
    if (!result.ok) {
      expect(result.refusal).toMatchObject({ code: 'VersionConflict', stream, expected, actual: version });
    }
    expect(await all(store.readStream(stream))).toHaveLength(accepted ? version + 1 : version);
  });

  test('may hold events of several correlations, each found with its own story', async () => {
    const stream = newStream();
    await store.append(
      [{ stream, expected: 'none', events: [proxyIdle('p1'), proxyIdle('p2'), proxyIdle('p3')] }],
      {
        ...context(),
        correlationOf: (event) =>
          event.type === 'ProxyIdle' && event.data.proxyId !== 'p1'
            ? `of ${event.data.proxyId} ${stream}`
            : undefined,
      },
    );
    const page = await store.readLog(0, { correlation: `of p2 ${stream}` });
    expect(page.events.map(({ version }) => version)).toEqual([2]);
    const kept = await all(store.readStream(stream));
    expect(kept[0]?.metadata.correlation).toBe(context().metadata.correlation);
  });

  test('over several streams is all or nothing', async () => {
    const [one, two] = [newStream(), newStream()];
    await appendOne(two, 'none');
    const appends = (expected: Expectation) => [
      { stream: two, expected, events: [proxyIdle('p2')] },
      { stream: one, expected: 'none' as const, events: [proxyIdle('p1'), proxyIdle('p3')] },
    ];
    const refused = await store.append(appends('none'), context());
    expect(refused).toMatchObject({ ok: false, refusal: { stream: two, actual: 1 } });
    expect(await all(store.readStream(one))).toEqual([]);

    const accepted = await store.append(appends(1), context());
    expect(accepted.ok && accepted.value.events.map((event) => [event.stream, event.version])).toEqual([
      [two, 2],
      [one, 1],
      [one, 2],
    ]);
    const positions = accepted.ok ? accepted.value.events.map((event) => event.position) : [];
    expect(positions).toEqual([...positions].sort((a, b) => a - b));
    expect(accepted.ok && accepted.value.events).toEqual([
      ...(await all(store.readStream(two, 1))),
      ...(await all(store.readStream(one))),
    ]);
  });

  test('without events guards: the others are stored only when that stream stands as expected', async () => {
    const [guarded, written] = [newStream(), newStream()];
    await appendOne(guarded, 'none');
    const guard = (expected: Expectation) => [
      { stream: guarded, expected, events: [] },
      { stream: written, expected: 'none' as const, events: [proxyIdle('p1')] },
    ];
    expect(await store.append(guard(0), context())).toMatchObject({ ok: false });
    expect(await store.append(guard(1), context())).toMatchObject({ ok: true });
    expect(await all(store.readStream(guarded))).toHaveLength(1);
    expect(await all(store.readStream(written))).toHaveLength(1);
  });

  test('takes no position when it conflicts or repeats', async () => {
    const stream = newStream();
    const before = await appendOne(stream, 'none', 'once');
    await appendOne(stream, 'none');
    await appendOne(stream, 'none', 'once');
    const after = await appendOne(stream, 1);
    const position = (result: typeof before) => (result.ok ? result.value.events[0]?.position : undefined);
    expect(position(after)).toBe((position(before) ?? 0) + 1);
  });

  test('of data that does not fit its contract, or of another category, is a bug and sends nothing', async () => {
    const stream = newStream();
    const wrong = {
      type: 'ProxyIdle',
      data: { hostId: 'no spaces allowed', proxyId: 'p', since: 'now' },
    } as const;
    await expect(store.append([{ stream, expected: 'any', events: [wrong] }], context())).rejects.toThrow(
      /ProxyIdle does not fit its contract/,
    );
    await expect(
      store.append([{ stream, expected: 'any', events: [vmClaimed('v')] }], context()),
    ).rejects.toThrow(/does not belong into stream/);
    expect(await all(store.readStream(stream))).toEqual([]);
  });
});

describe('under race', () => {
  test.each<Expectation>([0, 'none'])('of 20 that expect %s, one is accepted', async (expected) => {
    const stream = newStream();
    const results = await Promise.all(Array.from({ length: 20 }, () => appendOne(stream, expected)));
    expect(results.filter((result) => result.ok)).toHaveLength(1);
  });

  test('of 20 that expect any, all are accepted, one version after the other', async () => {
    const stream = newStream();
    await Promise.all(Array.from({ length: 20 }, () => appendOne(stream, 'any')));
    const versions = (await all(store.readStream(stream))).map((event) => event.version);
    expect(versions).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  });

  test('appends over the same streams in opposite orders do not wait for each other in a ring', async () => {
    const [one, two] = [newStream(), newStream()];
    const both = (first: StreamName, second: StreamName) =>
      store.append(
        [first, second].map((stream) => ({ stream, expected: 'any' as const, events: [proxyIdle('p')] })),
        context(),
      );
    await Promise.all(Array.from({ length: 40 }, (_, i) => (i % 2 ? both(one, two) : both(two, one))));
    expect(await all(store.readStream(one))).toHaveLength(40);
    expect(await all(store.readStream(two))).toHaveLength(40);
  });
});

describe('appends that travel together', () => {
  test('keep their own outcomes: what one is refused does not touch the others', async () => {
    const taken = newStream();
    await appendOne(taken, 'none', 'was first');
    const foreign = store.append(
      [{ stream: 'vm-h1.v1', expected: 'any', events: [vmClaimed('v1')] }],
      context(),
    );
    const results = Promise.all([
      ...Array.from({ length: 20 }, () => appendOne(newStream(), 'none')),
      appendOne(taken, 'none'),
      appendOne(newStream(), 7),
      appendOne(newStream(), 'exists'),
      appendOne(newStream(), 'any', 'was first'),
      ...Array.from({ length: 20 }, () => appendOne(newStream(), 'any')),
    ]);
    await expect(foreign).rejects.toMatchObject({ code: '42501' });
    const accepted = (await results).map((result) => result.ok);
    expect(accepted).toEqual([...Array(20).fill(true), false, false, false, true, ...Array(20).fill(true)]);
    expect((await results)[23]).toMatchObject({ value: { duplicate: true, events: [{ stream: taken }] } });
    expect(await all(store.readStream(taken))).toHaveLength(1);
    for (const result of await results) {
      if (!result.ok) continue;
      const [event] = result.value.events;
      expect(await all(store.readStream(event?.stream as StreamName))).toEqual([event]);
    }
  });

  test('over one stream take effect in the order in which they were made', async () => {
    const stream = newStream();
    const results = await Promise.all(Array.from({ length: 30 }, (_, version) => appendOne(stream, version)));
    expect(results.every((result) => result.ok)).toBe(true);
  });
});

describe('the same command again', () => {
  test('stores nothing and answers what was stored, also from a stream that moved on', async () => {
    const stream = newStream();
    const first = await appendOne(stream, 'none', 'again');
    await appendOne(stream, 1);
    const second = await appendOne(stream, 'none', 'again');
    expect(second).toEqual({ ok: true, value: { events: first.ok && first.value.events, duplicate: true } });
    expect(await all(store.readStream(stream))).toHaveLength(2);
  });

  test('answers all it stored then, however many the repeat brings', async () => {
    const stream = newStream();
    const events = Array.from({ length: 130 }, (_, index) => proxyIdle(`p${index}`));
    const first = await store.append([{ stream, expected: 'none', events }], context('many'));
    const second = await appendOne(stream, 130, 'many');
    expect(second.ok && second.value.events).toEqual(first.ok && first.value.events);
  });

  test('at the same moment from 20 callers is stored once, and all get the same answer', async () => {
    const stream = newStream();
    const results = await Promise.all(Array.from({ length: 20 }, () => appendOne(stream, 'any', 'burst')));
    const stored = await all(store.readStream(stream));
    for (const result of results) expect(result.ok && result.value.events).toEqual(stored);
    expect(results.filter((result) => result.ok && !result.value.duplicate)).toHaveLength(1);
    expect(stored).toHaveLength(1);
  });

  test('at the same moment over different streams is stored once too', async () => {
    const pair = [newStream(), newStream()];
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) => appendOne(pair[i % 2] as StreamName, 'any', 'apart')),
    );
    expect(new Set(results.map((result) => result.ok && result.value.events[0]?.stream)).size).toBe(1);
  });
});

describe('in a transaction', () => {
  test('what is appended and noted stands or falls together', async () => {
    const stream = newStream();
    const attempt = (fail: boolean) =>
      store.transaction(async (transaction) => {
        await transaction.kysely.insertInto('inbox').values({ consumer: 'c', event_id: stream }).execute();
        await transaction.append([{ stream, expected: 'none', events: [proxyIdle('p')] }], context());
        if (fail) throw new Error('the handler fails');
      });
    const heard: number[] = [];
    const unsubscribe = store.onAppended((events) => heard.push(events.length));
    await expect(attempt(true)).rejects.toThrow('the handler fails');
    expect(await all(store.readStream(stream))).toEqual([]);
    expect(heard).toEqual([]);

    await attempt(false);
    expect(await all(store.readStream(stream))).toHaveLength(1);
    expect(heard).toEqual([1]);
    unsubscribe();
    const noted = await store.kysely.selectFrom('inbox').selectAll().where('event_id', '=', stream).execute();
    expect(noted).toHaveLength(1);
  });

  test('a conflict is an answer: the transaction goes on, loads again and appends', async () => {
    const stream = newStream();
    await appendOne(stream, 'none');
    const versions = await store.transaction(async (transaction) => {
      const events = [proxyIdle('p')];
      const refused = await transaction.append([{ stream, expected: 0, events }], context());
      expect(refused.ok).toBe(false);
      await transaction.append([{ stream, expected: 1, events }], context());
      return (await all(transaction.readStream(stream))).map((event) => event.version);
    });
    expect(versions).toEqual([1, 2]);
  });

  test('a second append is a bug', async () => {
    const [one, two] = [newStream(), newStream()];
    const twice = store.transaction(async (transaction) => {
      for (const stream of [one, two]) {
        await transaction.append([{ stream, expected: 'any', events: [proxyIdle('p')] }], context());
      }
    });
    await expect(twice).rejects.toThrow(/appends once/);
    expect(await all(store.readStream(one))).toEqual([]);
  });
});

import { createHash } from 'node:crypto';
import type { StreamName } from '@backhaul/contracts';
import { eventually } from '@backhaul/kernel';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EventStore, Expectation } from './event-store.ts';
import { all, context, proxyIdle, vmClaimed } from './examples.fixture.ts';
import { openTestStore, type TestStore } from './testing.ts';

let server: TestStore;
let store: EventStore;
/** As many processes have: one sends what may race in groups, one after the other, and Postgres never sees the race. */
let others: EventStore[];
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('proxy-manager');
  others = await Promise.all(Array.from({ length: 5 }, () => server.store('proxy-manager')));
}, 60_000);
afterAll(() => server?.close(), 60_000);

let streams = 0;
const newStream = (): StreamName => {
  streams += 1;
  return `host-append${streams}`;
};
const appendOne = (stream: StreamName, expected: Expectation, commandId?: string, by = store) =>
  by.append([{ stream, expected, events: [proxyIdle('p1')] }], context(commandId));

/** Twenty at once, from several processes. */
const byOthers = <T>(append: (by: EventStore, index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(
    Array.from({ length: 20 }, (_, index) => append(others[index % others.length] as EventStore, index)),
  );

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

  const decided: [Expectation, number, boolean][] = [
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
  ];
  // Alone it is one function's to decide, in a group another's (sql/).
  const company = [
    ['alone', 0],
    ['in a group', 6],
  ] as const;
  const cases = company.flatMap(([name, others]) => decided.map((each) => [name, others, ...each] as const));
  test.each(cases)(
    '%s (with %i others) that expects %s of a stream at version %i: accepted %s',
    async (_, company, expected, version, accepted) => {
      const stream = newStream();
      for (let i = 0; i < version; i += 1) await appendOne(stream, i);
      const others = Promise.all(Array.from({ length: company }, () => appendOne(newStream(), 'none')));
      const result = await appendOne(stream, expected);
      expect((await others).every(({ ok }) => ok)).toBe(true);
      expect(result.ok).toBe(accepted);
      if (!result.ok) {
        expect(result.refusal).toMatchObject({ code: 'VersionConflict', stream, expected, actual: version });
      }
      expect(await all(store.readStream(stream))).toHaveLength(accepted ? version + 1 : version);
    },
  );

  test('keeps any string that JavaScript can hold, as the first event of a stream and as a later one', async () => {
    const stream = newStream();
    const event = proxyIdle('naïve \u0000 \ud800 "quoted" \\ 😀');
    for (const expected of ['none', 1, 'any', 'exists'] as const) {
      const result = await store.append([{ stream, expected, events: [event] }], context());
      expect(result.ok && result.value.events[0]?.data).toEqual(event.data);
    }
    expect((await all(store.readStream(stream))).map(({ data }) => data)).toEqual(
      Array.from({ length: 4 }, () => event.data),
    );
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
    const results = await byOthers((by) => appendOne(stream, expected, undefined, by));
    expect(results.filter((result) => result.ok)).toHaveLength(1);
  });

  test('of 20 that expect any, all are accepted, one version after the other', async () => {
    const stream = newStream();
    await byOthers((by) => appendOne(stream, 'any', undefined, by));
    const versions = (await all(store.readStream(stream))).map((event) => event.version);
    expect(versions).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  });

  test('appends over the same streams in opposite orders do not wait for each other in a ring', async () => {
    const [one, two] = [newStream(), newStream()];
    const both = (by: EventStore, first: StreamName, second: StreamName) =>
      by.append(
        [first, second].map((stream) => ({ stream, expected: 'any' as const, events: [proxyIdle('p')] })),
        context(),
      );
    await byOthers((by, index) => (index % 2 ? both(by, one, two) : both(by, two, one)));
    expect(await all(store.readStream(one))).toHaveLength(20);
    expect(await all(store.readStream(two))).toHaveLength(20);
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
    const results = await byOthers((by) => appendOne(stream, 'any', 'burst', by));
    const stored = await all(store.readStream(stream));
    for (const result of results) expect(result.ok && result.value.events).toEqual(stored);
    expect(results.filter((result) => result.ok && !result.value.duplicate)).toHaveLength(1);
    expect(stored).toHaveLength(1);
  });

  test('that another connection is just storing waits for it, and leaves the stream as that one left it', async () => {
    const stream = newStream();
    await appendOne(stream, 'none');
    const waiting = await store.transaction(async (transaction) => {
      const append = { stream, expected: 'any' as const, events: [proxyIdle('p')] };
      await transaction.append([append], context('just now'));
      const other = store.transaction((another) => another.append([append], context('just now')));
      await eventually('the other append waiting for a lock', 10_000, async () => {
        const { rows } = await sql`
          select from pg_stat_activity where wait_event_type = 'Lock' and query like '%append_event(%'`.execute(
          store.kysely, // a transaction sees the activity as it was when it looked first
        );
        return rows.length === 1 ? true : undefined;
      });
      return { other };
    });
    expect(await waiting.other).toMatchObject({
      ok: true,
      value: { duplicate: true, events: [{ version: 2 }] },
    });
    expect(await appendOne(stream, 2)).toMatchObject({ ok: true, value: { events: [{ version: 3 }] } });
    expect(await all(store.readStream(stream))).toHaveLength(3);
  });

  test('at the same moment over different streams is stored once too', async () => {
    const pair = [newStream(), newStream()];
    const results = await byOthers((by, index) =>
      appendOne(pair[index % 2] as StreamName, 'any', 'apart', by),
    );
    expect(new Set(results.map((result) => result.ok && result.value.events[0]?.stream)).size).toBe(1);
  });
});

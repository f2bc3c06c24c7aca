import { randomUUID } from 'node:crypto';
import { eventually, Fault, isPermanent } from '@backhaul/kernel';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { EventStore } from './event-store.ts';
import { all, context, proxyIdle } from './examples.fixture.ts';
import { connectEventStore } from './postgres-event-store.ts';
import { tail } from './tail.ts';
import { openTestStore, type TestStore } from './testing.ts';

let server: TestStore;
let store: EventStore;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('proxy-manager');
}, 60_000);
afterAll(() => server?.close(), 60_000);

const appendTo = (id: string, commandId?: string) =>
  store.append(
    [{ stream: `host-${id}`, expected: 'any', events: [proxyIdle('p')] }],
    context(commandId ?? randomUUID()),
  );

/** What a restart of the server does to its clients: every connection of the service ends with "terminating connection". */
async function endConnections(): Promise<number> {
  const admin = new pg.Client({ connectionString: server.adminUrl });
  await admin.connect();
  const { rowCount } = await admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'backhaul_proxy_manager'`,
  );
  await admin.end();
  return rowCount ?? 0;
}

describe('when Postgres goes away', () => {
  test('idle connections that end harm nobody: the next call connects anew', async () => {
    await Promise.all(Array.from({ length: 5 }, () => appendTo('idle')));
    expect(await endConnections()).toBeGreaterThan(0);
    await eventually('an append on a new connection', 5_000, async () =>
      (await appendTo('idle').catch(() => undefined)) === undefined ? undefined : true,
    );
  });

  test('a transaction under way fails as a fault that a retry can mend, and leaves nothing', async () => {
    const attempt = store.transaction(async (transaction) => {
      await transaction.append(
        [{ stream: 'host-cut', expected: 'none', events: [proxyIdle('p')] }],
        context('cut'),
      );
      await endConnections();
      await transaction.client.query('select 1');
    });
    const fault = await attempt.catch((error: unknown) => error);
    expect(fault).toBeInstanceOf(Fault);
    expect(isPermanent(fault)).toBe(false);
    expect(await all(store.readStream('host-cut'))).toEqual([]);
    expect((await appendTo('cut', 'cut')).ok).toBe(true);
  });

  test('a tail lives through it and misses nothing', async () => {
    const over = new AbortController();
    onTestFinished(() => over.abort());
    const faults: Fault[] = [];
    const seen: number[] = [];
    const after = (await store.readLog(0)).next;
    const following = (async () => {
      const options = {
        after,
        signal: over.signal,
        idleMilliseconds: 10,
        onFault: (f: Fault) => faults.push(f),
      };
      for await (const page of tail(store, options)) seen.push(...page.events.map((each) => each.position));
    })();
    const stored: number[] = [];
    for (let i = 0; i < 20; i += 1) {
      if (i % 5 === 0) await endConnections();
      const result = await eventually(`append ${i}`, 5_000, () =>
        appendTo('tailed', `tailed${i}`).catch(() => undefined),
      );
      if (result.ok) stored.push(...result.value.events.map((each) => each.position));
    }
    await eventually('the tail to see all', 5_000, () => (seen.length >= stored.length ? true : undefined));
    over.abort();
    await following;
    expect(seen).toEqual(stored);
    expect(faults.every((fault) => !fault.permanent)).toBe(true);
  });

  test('a server that is stopped refuses with the address in the error, retryable', async () => {
    const refused = await connectEventStore({ url: 'postgresql://nobody@127.0.0.1:1/none' }).catch(
      (e: unknown) => e,
    );
    expect(refused).toMatchObject({
      message: 'Connecting to the event store at 127.0.0.1:1 failed',
      permanent: false,
    });
  });
});

describe('every wait ends', () => {
  test.each(['statement_timeout', 'idle_in_transaction_session_timeout'])('%s is set', async (setting) => {
    const value = await store.transaction(
      async ({ client }) =>
        (await client.query(`select current_setting('${setting}') as value`)).rows[0].value,
    );
    expect(value).toMatch(/^(30s|1min)$/);
  });

  test('an append that hangs holds readers up for a moment only: they read on to what was sure before', async () => {
    await appendTo('sure');
    const sure = (await store.readLog(0)).highWater;
    await store.transaction(async (transaction) => {
      await transaction.append(
        [{ stream: 'host-hangs', expected: 'none', events: [proxyIdle('p')] }],
        context(),
      );
      const page = await store.readLog(0);
      expect(page.highWater).toBe(sure);
      expect(page.events.at(-1)?.stream).toBe('host-sure');
      // Others append meanwhile: the reader has let go of the log's lock.
      expect((await appendTo('meanwhile')).ok).toBe(true);
    });
    const page = await store.readLog(sure);
    expect(page.events.map((event) => event.stream)).toEqual(['host-hangs', 'host-meanwhile']);
  });

  test('a failed statement that was swallowed does not pass for a commit', async () => {
    const attempt = store.transaction(async ({ client }) => {
      await client.query('select 1 / 0').catch(() => undefined);
    });
    await expect(attempt).rejects.toThrow(/rolled back/);
  });
});

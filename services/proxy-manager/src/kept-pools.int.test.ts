/** A start from what was kept, against one from all events: they know the same, and the first reads what is new alone. */
import { hash } from 'node:crypto';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { keptPools } from '@backhaul/kept-pools';
import { notingReads } from '@backhaul/kept-pools/testing';
import { eventually } from '@backhaul/kernel';
import { decisionsNow, emptyPool, evolve, type HostEvent, type Pool } from '@backhaul/pool';
import { planOf, TestPool } from '@backhaul/pool/testing';
import { sql } from 'kysely';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Ledger } from './ledger.ts';

let server: TestStore;
let store: EventStore;
beforeAll(async () => {
  server = await openTestStore();
  store = await server.store('proxy-manager');
});
afterAll(() => server?.close());

const warnings: string[] = [];
const log = pino({ level: 'warn' }, { write: (line: string) => void warnings.push(line) });
const kept = () => keptPools({ store, log });

/** Backups that come and go, and some that are open at the end. */
function lifeOf(hostId: string, backups: number): HostEvent[] {
  const pool = new TestPool();
  for (let number = 0; number < backups; number += 1) {
    pool.request(planOf(`vm${number}`, [3, 2], 2));
    pool.run();
    for (const run of [...pool.pool.runs.values()]) {
      if (number > backups - 3) break;
      for (const job of run.jobs.values()) if (job.lease) pool.finishJob(job.childJobId);
      pool.run();
      pool.command({ type: 'EndRun', runId: run.order.runId, outcome: 'completed' });
    }
    pool.run();
  }
  return pool.history.map((event) => ({ ...event, data: { ...event.data, hostId } }) as HostEvent);
}

/** Through the ledger, as whoever works at the host appends. */
async function tell(ledger: Ledger, events: readonly HostEvent[]): Promise<void> {
  for (let at = 0; at < events.length; at += 500)
    await ledger.decide(store, { kind: 'look', at: at + 1 }, () => events.slice(at, at + 500));
}

const rowOf = async (hostId: string) =>
  (
    await sql<{ version: number; code: string; state: Buffer }>`
      select version, code, state from public.kept_pools where host_id = ${hostId}`.execute(store.kysely)
  ).rows[0];

/** What a new process knows, and after which version it asked the log first. */
async function started(hostId: string): Promise<{ pool: Pool; readFrom: number[] }> {
  const reading = notingReads(store);
  const pool = await new Ledger(hostId, kept()).read(reading.store, (known) => known);
  return { pool, readFrom: reading.readFrom };
}

const fold = (events: readonly HostEvent[], hostId: string): Pool => events.reduce(evolve, emptyPool(hostId));

test('a start goes on from what was kept, and knows what a fold of everything knows', async () => {
  const events = lifeOf('busy', 400);
  expect(events.length).toBeGreaterThan(10_500);
  await tell(new Ledger('busy', kept()), events.slice(0, 10_300));
  const row = await eventually('a pool to be kept', 20_000, () => rowOf('busy'));
  expect(row.version).toBeGreaterThanOrEqual(10_000);

  const first = await started('busy');
  expect(first.readFrom[0]).toBe(row.version);
  expect(first.pool).toEqual(fold(events.slice(0, 10_300), 'busy'));
  // What has happened since is folded on top.
  await tell(new Ledger('busy', kept()), events.slice(10_300));
  const second = await started('busy');
  expect(second.readFrom[0]).toBe(row.version);
  const whole = fold(events, 'busy');
  expect(second.pool).toEqual(whole);
  expect(whole.runs.size).toBeGreaterThan(0);
  const now = Date.parse('2030-01-01T00:00:00Z');
  expect(decisionsNow(second.pool, now)).toEqual(decisionsNow(whole, now));
  expect(warnings).toEqual([]);
});

test('what another release kept, or is of another log, is passed over', async () => {
  const change = (what: string, value: unknown) =>
    sql`update public.kept_pools set ${sql.ref(what)} = ${value} where host_id = 'busy'`.execute(
      store.kysely,
    );
  const whole = (await started('busy')).pool;
  const row = await rowOf('busy');

  await change('code', hash('sha256', 'another release'));
  const ofAnotherRelease = await started('busy');
  expect([ofAnotherRelease.readFrom[0], ofAnotherRelease.pool]).toEqual([0, whole]);

  await change('code', row?.code);
  await change('version', (row?.version ?? 0) - 1);
  const ofAnotherLog = await started('busy');
  expect([ofAnotherLog.readFrom[0], ofAnotherLog.pool]).toEqual([0, whole]);
  await change('version', row?.version);
  expect((await started('busy')).readFrom[0]).toBe(row?.version);

  await change('state', Buffer.from('nothing that was kept'));
  const damaged = await started('busy');
  expect([damaged.readFrom[0], damaged.pool]).toEqual([0, whole]);
  expect(warnings.join()).toContain('a kept pool cannot be used');
});

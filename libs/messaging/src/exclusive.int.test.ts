import { once } from 'node:events';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { eventually, Fault } from '@backhaul/kernel';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Exclusive, runExclusively } from './exclusive.ts';
import { silentLog } from './log.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let postgres: TestStore;
beforeAll(async () => {
  postgres = await openTestStore();
});
afterAll(() => postgres.close());

function hold(name: string, events: string[], who: string, run?: () => Promise<void>): Exclusive {
  return runExclusively({
    postgresUrl: postgres.urlOf('trigger'),
    name,
    log: silentLog,
    async run(signal) {
      events.push(`${who} begins`);
      await run?.();
      if (!signal.aborted) await once(signal, 'abort');
      events.push(`${who} ends`);
    },
  });
}

test('one holds the charge; when it stops, the other takes it', async () => {
  const events: string[] = [];
  const first = hold('a', events, 'first');
  await eventually('the first to begin', 10_000, () => first.inCharge() || undefined);
  const second = hold('a', events, 'second');
  const apart = hold('b', events, 'apart');
  await eventually('the one with another name to begin', 10_000, () => apart.inCharge() || undefined);
  await first.stop();
  await eventually('the second to begin', 10_000, () => second.inCharge() || undefined);
  await Promise.all([second.stop(), apart.stop()]);
  expect(events.filter((event) => !event.startsWith('apart'))).toEqual([
    'first begins',
    'first ends',
    'second begins',
    'second ends',
  ]);
});

test('a lost connection aborts the work, and the charge is taken again', async () => {
  const events: string[] = [];
  const held = hold('lost', events, 'it');
  await eventually('it to begin', 10_000, () => held.inCharge() || undefined);
  const admin = new pg.Client({ connectionString: postgres.adminUrl });
  await admin.connect();
  await admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'backhaul lock lost'`,
  );
  await admin.end();
  await eventually('it to begin again', 10_000, () => events.length === 3 || undefined);
  await held.stop();
  expect(events).toEqual(['it begins', 'it ends', 'it begins', 'it ends']);
});

test('work that fails gives the charge back and is started again', async () => {
  const events: string[] = [];
  let failures = 0;
  const held = hold('failing', events, 'it', async () => {
    failures += 1;
    if (failures === 1) throw new Fault('the world failed');
  });
  await eventually(
    'it to be in charge again',
    10_000,
    () => (failures === 2 && held.inCharge()) || undefined,
  );
  await held.stop();
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { context, proxyIdle, vmClaimed } from '../examples.fixture.ts';
import { connectEventStore } from '../postgres-event-store.ts';
import { openTestStore, type TestStore } from '../testing.ts';
import { openSealKey, type SealKey } from './key.ts';
import { sealLog } from './seal-log.ts';
import { NO_SEAL } from './statement.ts';
import { verifyLog } from './verify-log.ts';

let server: TestStore;
let folder: string;
let key: SealKey;
beforeAll(async () => {
  [server, folder] = await Promise.all([openTestStore(), mkdtemp(join(tmpdir(), 'backhaul-seal-'))]);
  key = await openSealKey(join(folder, 'key.pem'));
}, 60_000);
afterAll(async () => {
  await server?.close();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

let databases = 0;
/** A log of its own: 20 events, of which the first 18 are sealed, 4 to a seal (the last holds 2). */
async function sealedLog() {
  databases += 1;
  const database = await server.openDatabase(`sealed_${databases}`);
  const [hosts, console] = [await database.store('proxy-manager'), await database.store('console')];
  const append = async (from: number, to: number): Promise<void> => {
    for (let event = from; event <= to; event += 1) {
      const events = [proxyIdle(`pröxy ${event}\u0000`)];
      await hosts.append([{ stream: `host-h${event % 3}`, expected: 'any', events }], context());
    }
  };
  await append(1, 18);
  const seals = await sealLog(console, key, { eventsMax: 4 });
  await append(19, 20);
  return {
    seals,
    append,
    console,
    /** As a superuser who knows what is in the way. */
    async tamper(...statements: string[]): Promise<void> {
      const admin = new pg.Client({ connectionString: database.adminUrl });
      await admin.connect();
      try {
        await admin.query('set session_replication_role = replica');
        for (const statement of statements) await admin.query(statement);
      } finally {
        await admin.end();
      }
    },
    verify: (trusted: Parameters<typeof verifyLog>[1] = {}) => verifyLog(console, trusted),
    close: () => database.close(),
  };
}

const FORGED_HASH = `content_hash = public.content_hash(correlation, causation, traceparent, actor, event_id, stream_id, version,
  type, schema_version, '{"forged":true}')`;
const move = (from: number, to: number) => `update events set position = ${to} where position = ${from}`;

describe('a log that nobody touched', () => {
  test('is proved, and its seals are a chain over every position', async () => {
    const log = await sealedLog();
    expect(log.seals.map(({ seal, after, through, events }) => [seal, after, through, events])).toEqual([
      [1, 0, 4, 4],
      [2, 4, 8, 4],
      [3, 8, 12, 4],
      [4, 12, 16, 4],
      [5, 16, 18, 2],
    ]);
    expect(log.seals.map(({ previous }) => previous)).toEqual([
      NO_SEAL,
      ...log.seals.slice(0, -1).map(({ hash }) => hash),
    ]);
    const newest = { seal: 5, hash: log.seals.at(-1)?.hash ?? '' };
    expect(await log.verify({ publicKey: key.publicKey, noted: newest })).toEqual({
      ...{ ok: true, seals: 5, events: 18, through: 18, unsealed: 2, key: key.publicKey },
      newest,
    });
    expect(await sealLog(log.console, key, { eventsMax: 4 })).toMatchObject([
      { seal: 6, after: 18, through: 20 },
    ]);
    expect(await sealLog(log.console, key)).toEqual([]);
    await log.close();
  });

  test('is sealed once by several at a time', async () => {
    const log = await sealedLog();
    await log.append(21, 60);
    const made = await Promise.all([1, 2, 3, 4].map(() => sealLog(log.console, key, { eventsMax: 7 })));
    expect(
      made
        .flat()
        .map(({ seal }) => seal)
        .sort((a, b) => a - b),
    ).toEqual([6, 7, 8, 9, 10, 11]);
    expect(await log.verify()).toMatchObject({ ok: true, seals: 11, events: 60, unsealed: 0 });
    await log.close();
  });
});

describe('what a superuser does to the rows is named', () => {
  test.each<[what: string, statements: string[], position: number, message: RegExp]>([
    [
      'a changed event',
      [`update events set data = '{"forged":true}' where position = 7`],
      7,
      /does not fit its content hash/,
    ],
    [
      'an event that was changed together with its hash',
      [`update events set data = '{"forged":true}', ${FORGED_HASH} where position = 7`],
      7,
      /not the one of seal 2: .* changed together with its content hash/,
    ],
    [
      'a changed actor',
      [`update events set actor = 'nobody' where position = 3`],
      3,
      /does not fit its content hash/,
    ],
    [
      'a changed category',
      [`update events set category = 'vm' where position = 3`],
      3,
      /the content hash or the category/,
    ],
    [
      'a changed content hash',
      [`update events set content_hash = '\\x00' where position = 3`],
      3,
      /the content hash or the category/,
    ],
    [
      'a changed time',
      [`update events set recorded_at = recorded_at + '1 us' where position = 9`],
      9,
      /time of recording/,
    ],
    [
      'a dropped event',
      ['delete from events where position = 6'],
      6,
      /the event that seal 2 has there was dropped/,
    ],
    [
      'a dropped last event of a seal',
      ['delete from events where position = 8'],
      8,
      /seal 2 has there was dropped/,
    ],
    ['all sealed events gone', ['truncate events'], 1, /seal 1 has there was dropped/],
    [
      'two events that changed places',
      [move(6, 106), move(15, 6), move(106, 15)],
      6,
      /was sealed at position 15: the order was changed/,
    ],
    ['neighbours that changed places', [move(6, 106), move(7, 6), move(106, 7)], 6, /sealed at position 7/],
    ['an event moved behind the seals', [move(10, 106)], 10, /was dropped/],
    [
      'an unsealed event changed',
      [`update events set data = '{"forged":true}' where position = 20`],
      20,
      /does not fit its content hash/,
    ],
    [
      'several things: the first of them',
      ['delete from events where position = 12', `update events set type = 'Other' where position = 5`],
      5,
      /./,
    ],
  ])('%s', async (_, statements, position, message) => {
    const log = await sealedLog();
    await log.tamper(...statements);
    expect(await log.verify({ publicKey: key.publicKey })).toEqual({
      ok: false,
      position,
      message: expect.stringMatching(message),
    });
    await log.close();
  });

  test('an event that is put in where an append had been rolled back', async () => {
    const log = await sealedLog();
    await log.tamper(`select nextval('log_position')`);
    await log.append(21, 22);
    await sealLog(log.console, key);
    expect(await log.verify()).toMatchObject({ ok: true, events: 22, through: 23 });
    await log.tamper(
      `insert into events select 21, gen_random_uuid(), stream_id, category, 900, type, schema_version, data, correlation, causation,
       traceparent, actor, content_hash, recorded_at from events where position = 1`,
    );
    expect(await log.verify()).toEqual({
      ok: false,
      position: 21,
      message: 'an event was put in: seal 6 has none there',
    });
    await log.close();
  });
});

describe('what a superuser does to the seals is named', () => {
  const rewritten = `update seals set statement = replace(statement, 'events 4', 'events 3') where seal = 3`;
  test.each<[what: string, statements: string[], position: number, message: RegExp]>([
    ['a changed statement', [rewritten], 9, /^seal 3 was changed: its signature does not fit/],
    [
      'no statement at all',
      [`update seals set statement = 'x' where seal = 3`],
      9,
      /^seal 3 .* no statement/,
    ],
    [
      'a changed signature',
      [`update seals set signature = '\\x00' where seal = 1`],
      1,
      /^seal 1 .* signature/,
    ],
    [
      'entries without one event, which was dropped, too',
      [
        'update seals set entries = substr(entries, 1, 120) where seal = 2',
        'delete from events where position = 8',
      ],
      5,
      /^seal 2 was changed: its entries do not fit its root/,
    ],
    ['a dropped seal', ['delete from seals where seal = 2'], 5, /^seal 2 is missing/],
    [
      'a dropped seal that was closed up',
      ['delete from seals where seal = 2', 'update seals set seal = 2 where seal = 3'],
      5,
      /^seal 2 does not follow seal 1/,
    ],
    [
      'two seals that changed places',
      [
        'update seals set seal = 99 where seal = 2',
        'update seals set seal = 2 where seal = 3',
        'update seals set seal = 3 where seal = 99',
      ],
      5,
      /^seal 2 does not follow seal 1/,
    ],
  ])('%s', async (_, statements, position, message) => {
    const log = await sealedLog();
    await log.tamper(...statements);
    expect(await log.verify()).toEqual({ ok: false, position, message: expect.stringMatching(message) });
    await log.close();
  });

  test('an end that was cut off, by a seal that was noted down elsewhere', async () => {
    const log = await sealedLog();
    const newest = log.seals.at(-1);
    await log.tamper('delete from seals where seal = 5', 'delete from events where position > 16');
    expect(await log.verify()).toMatchObject({ ok: true, seals: 4, events: 16 });
    expect(await log.verify({ noted: { seal: 5, hash: newest?.hash ?? '' } })).toEqual({
      ok: false,
      position: 17,
      message: 'the chain ends with seal 4, and seal 5 was noted down',
    });
    await log.close();
  });

  test('a seal made anew with the very same key, by the one behind it', async () => {
    const log = await sealedLog();
    await log.tamper(
      'create table kept as select * from seals',
      'truncate seals',
      `update events set data = '{"forged":true}', ${FORGED_HASH} where position = 2`,
    );
    await sealLog(log.console, key, { eventsMax: 4 });
    await log.tamper(
      'delete from seals where seal > 1',
      'insert into seals select * from kept where seal > 1',
    );
    expect(await log.verify({ publicKey: key.publicKey })).toMatchObject({
      position: 5,
      message: expect.stringMatching(/^seal 2 does not follow seal 1/),
    });
    await log.close();
  });

  test('a chain made anew with another key, by the key, and by a seal that was noted down', async () => {
    const log = await sealedLog();
    const noted = { seal: 2, hash: log.seals[1]?.hash ?? '' };
    await log.tamper(
      `update events set data = '{"forged":true}', ${FORGED_HASH} where position = 1`,
      'truncate seals',
    );
    await sealLog(log.console, await openSealKey(join(folder, `forger-${databases}.pem`)), { eventsMax: 4 });
    expect(await log.verify({ publicKey: key.publicKey })).toMatchObject({
      ok: false,
      position: 1,
      message: expect.stringMatching(/^seal 1 is signed with the key [\w-]{43}, and not with/),
    });
    expect(await log.verify({ noted })).toMatchObject({
      position: 5,
      message: expect.stringMatching(/another one/),
    });
    await log.close();
  });
});

describe('sealing', () => {
  test('refuses an event that was changed before it was sealed, and seals nothing behind it', async () => {
    const log = await sealedLog();
    await log.tamper(`update events set data = '{"forged":true}' where position = 19`);
    await expect(sealLog(log.console, key)).rejects.toThrow(/The event at position 19 does not fit/);
    expect(await log.verify()).toMatchObject({ ok: false, position: 19 });
    await log.close();
  });

  test('goes on only with the key of the chain', async () => {
    const log = await sealedLog();
    const other = await openSealKey(join(folder, 'other.pem'));
    await expect(sealLog(log.console, other)).rejects.toThrow(/sealed with the key .*, and this one is/);
    await log.close();
  });

  test('is for the console alone, and what is sealed stays', async () => {
    const log = await sealedLog();
    const trigger = await connectEventStore({ url: server.urlOf('trigger') });
    await trigger.append([{ stream: 'vm-h1.v1', expected: 'any', events: [vmClaimed('v1')] }], context());
    await expect(sealLog(trigger, key)).rejects.toMatchObject({ code: '42501' });
    await trigger.close();
    const change = async (statement: string) => {
      const admin = new pg.Client({ connectionString: server.adminUrl });
      await admin.connect();
      return await admin.query(statement).finally(() => admin.end());
    };
    for (const statement of ['delete from seals', 'truncate seals', `update seals set statement = ''`])
      await expect(change(statement)).rejects.toThrow(/The log only grows/);
    await log.close();
  });
});

import { CHUNK_BYTES } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { openTestStore, type TestStore } from '@backhaul/event-store/testing';
import { eventually, Fault } from '@backhaul/kernel';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { prepareGenerations, readGenerations, startRebuild } from './adapters/generations.ts';
import { projectRound, runProjector } from './adapters/projector.ts';
import { projections } from './projections/all.ts';
import { type Narrator, narrator } from './testing/append-story.ts';
import { backupIdOf, backupStory, recoveryStory, sharedProxyStory, teller } from './testing/story.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let server: TestStore;
let database: Omit<TestStore, 'openDatabase' | 'server'>;
let store: EventStore;
let story: Narrator;
let databases = 0;

beforeAll(async () => {
  server = await openTestStore();
});
afterAll(() => server?.close());
beforeEach(async () => {
  databases += 1;
  database = await server.openDatabase(`case_${databases}`);
  store = await database.store('console');
  story = narrator((service) => database.store(service));
  await prepareGenerations(store.kysely);
  return () => database.close();
});

const options = (pageEvents = 50) => ({ store, signal: new AbortController().signal, pageEvents });

async function catchUp(pageEvents?: number): Promise<void> {
  while (await projectRound(options(pageEvents)));
}

/** All rows of all projections, by the stable names under which people find them. */
async function everything(): Promise<Record<string, unknown[]>> {
  const rows: Record<string, unknown[]> = {};
  for (const projection of projections) {
    const order = sql.join(
      projection.key.map((column) => sql.ref(column.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`))),
    );
    const found =
      await sql<object>`select * from ${sql.table(`console.${projection.table}`)} order by ${order}`.execute(
        store.kysely,
      );
    rows[projection.table] = found.rows;
  }
  return rows;
}

const twoBackups = () => [
  ...sharedProxyStory(),
  ...backupStory({ name: 'b1', interrupted: true }),
  ...backupStory({ name: 'b2', vmId: 'db-1', shared: true, fallback: true }),
];
const withRecoveries = () => [
  ...recoveryStory({ name: 'r1', backup: 'b1', end: 'damaged' }),
  ...twoBackups(),
  ...recoveryStory({ name: 'r2', backup: 'b2', shared: true, interrupted: true }),
];

test('rows in Postgres follow the log', async () => {
  await story.tell(twoBackups());
  await catchUp();
  const { rows } =
    await sql`select state, read_bytes, chunks, child_jobs_done from console.backups order by first_position`.execute(
      store.kysely,
    );
  const done = { state: 'completed', read_bytes: 16 * CHUNK_BYTES, chunks: 16, child_jobs_done: 4 };
  expect(rows).toEqual([done, done]);
  expect((await everything()).obligations).toEqual([expect.objectContaining({ proxy_id: 'lab-shared' })]);
});

test('a rebuild from position zero gives tables identical to the live ones', async () => {
  await story.tell(withRecoveries().slice(0, -20));
  await catchUp(7);
  const live = await everything();
  expect(await startRebuild(store.kysely, 'asked')).toEqual({ generation: 2, alreadyRunning: false });
  expect(await startRebuild(store.kysely, 'asked again')).toEqual({ generation: 2, alreadyRunning: true });
  await catchUp(31);
  expect((await readGenerations(store.kysely)).live?.generation).toBe(2);
  expect(await everything()).toEqual(live);
  const { rows } =
    await sql`select tablename from pg_tables where schemaname = 'console' and tablename like '%_v1'`.execute(
      store.kysely,
    );
  expect(rows).toEqual([]);
});

test('a rebuild while events keep coming ends with nothing missed and nothing counted twice', async () => {
  await story.tell(backupStory({ name: 'b0', chunksPerJob: 40 }));
  const end = new AbortController();
  const running = runProjector({ store, signal: end.signal, pageEvents: 20, idleMilliseconds: 5 });
  try {
    await eventually('the first backup to show', 20_000, async () =>
      (await readGenerations(store.kysely)).live?.position ? true : undefined,
    );
    await startRebuild(store.kysely, 'asked');
    for (let index = 1; index <= 8; index += 1)
      await story.tell(backupStory({ name: `b${index}`, interrupted: true }));
    const { next } = await store.readLog(0, { limit: 1_000_000 });
    await eventually('the rebuilt tables to be live and to have caught up', 20_000, async () => {
      const { live, building } = await readGenerations(store.kysely);
      return building === undefined && live?.generation === 2 && live.position === next ? true : undefined;
    });
  } finally {
    end.abort();
    await running;
  }
  const incremental = await everything();
  expect(incremental.backups).toHaveLength(9);
  await startRebuild(store.kysely, 'to compare');
  await catchUp(1000);
  expect((await readGenerations(store.kysely)).live?.generation).toBe(3);
  expect(await everything()).toEqual(incremental);
});

test('two projectors at once count nothing twice', async () => {
  await story.tell(twoBackups());
  const second = await database.store('console');
  const race = async (mine: EventStore): Promise<void> => {
    const done = async (): Promise<boolean> => {
      const { live } = await readGenerations(mine.kysely);
      return live?.position === (await mine.readLog(live?.position ?? 0)).highWater;
    };
    while (!(await done())) await projectRound({ ...options(5), store: mine });
  };
  await Promise.all([race(store), race(second)]);
  const { rows } =
    await sql`select chunks, child_jobs_done, interruptions from console.backups order by first_position`.execute(
      store.kysely,
    );
  expect(rows).toEqual([
    { chunks: 16, child_jobs_done: 4, interruptions: 1 },
    { chunks: 16, child_jobs_done: 4, interruptions: 0 },
  ]);
});

test('tables of another release are rebuilt beside the ones in use, which that release moves on', async () => {
  await story.tell(twoBackups());
  await catchUp();
  const live = await everything();
  await sql`update console.generations set code = '0:another'`.execute(store.kysely);
  await prepareGenerations(store.kysely);
  const { building } = await readGenerations(store.kysely);
  expect(building).toMatchObject({ generation: 2, position: 0 });
  expect(building?.reason).toMatch(/0:another/);
  await catchUp();
  expect((await readGenerations(store.kysely)).live?.generation).toBe(2);
  expect(await everything()).toEqual(live);
});

test('text that Postgres cannot keep does not stop the projections', async () => {
  const tell = teller(backupIdOf('bad'));
  tell.append('backup', backupIdOf('bad'), 'BackupRefused', {
    backupId: backupIdOf('bad'),
    origin: { via: 'nats', requestId: 'r\0\ud800' },
    refusal: { code: 'Malformed', message: 'vm: "\0" is no name' },
    request: '{"vm":"\\u0000"}',
    refusedAt: '2026-01-01T00:00:00.000Z',
  });
  await story.tell(tell.told);
  await catchUp();
  const { rows } = await sql`select vm_id, refusal->>'message' as message from console.backups`.execute(
    store.kysely,
  );
  expect(rows).toEqual([{ vm_id: '\uFFFD', message: 'vm: "\uFFFD" is no name' }]);
});

test('a failure is noted where operators see it, and forgotten when the projections move on', async () => {
  await story.tell(twoBackups());
  const broken: EventStore = {
    ...store,
    readLog: () => Promise.reject(new Fault('The disk is full')),
  };
  await expect(projectRound({ ...options(), store: broken })).rejects.toThrow(/after position 0 failed/);
  expect((await readGenerations(store.kysely)).live?.problem).toMatch(/The disk is full/);
  await catchUp();
  expect((await readGenerations(store.kysely)).live?.problem).toBeNull();
});

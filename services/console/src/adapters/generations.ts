/**
 * Generations of the projections' tables: one is live and answers, at most one more is being built beside it from position
 * zero, and takes its place in one transaction when it has caught up. Each has its own checkpoint, moved by
 * compare-and-set in the transaction that writes the rows: two projectors at once cannot count an event twice.
 */
import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { PROJECTIONS_VERSION, projections } from '../projections/all.ts';
import { createTable, type Database, pointView } from './row-storage.ts';

/** Which tables there are, and of which columns. */
const SHAPE = createHash('sha256')
  .update(
    JSON.stringify(projections.map(({ table, key, columns, indexes }) => [table, key, columns, indexes])),
  )
  .digest('hex')
  .slice(0, 12);
/** What this release would build: tables of another code are rebuilt, tables of another shape cannot be read. */
export const CODE = `${PROJECTIONS_VERSION}:${SHAPE}`;
export const sameShape = (code: string): boolean => code.endsWith(`:${SHAPE}`);

export interface Generation {
  readonly generation: number;
  readonly code: string;
  readonly position: number;
  readonly live: boolean;
  readonly reason: string;
  readonly startedAt: string;
  /** Why it does not move on, when it cannot. */
  readonly problem: string | null;
}

/** Makes what is missing: the first generation, or one of this release's code beside that of another. Safe to run by many at once. */
export async function prepareGenerations(db: Database): Promise<void> {
  await db.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(1111573323, 3)`.execute(transaction);
    await sql`create table if not exists console.generations (
      generation integer primary key,
      code text not null,
      position bigint not null default 0,
      live boolean not null,
      reason text not null,
      started_at timestamptz not null default now(),
      problem text
    )`.execute(transaction);
    await sql`create unique index if not exists one_live_one_built on console.generations (live)`.execute(
      transaction,
    );
    const { live, building } = await readGenerations(transaction);
    if (live === undefined) {
      await open(transaction, 1, 'the first', true);
    } else if (live.code !== CODE && building?.code !== CODE) {
      if (building !== undefined) await drop(transaction, building.generation);
      const next = (building ?? live).generation + 1;
      await open(transaction, next, `this release builds ${CODE}, and ${live.code} is in use`, false);
    }
  });
}

export async function readGenerations(
  db: Database,
): Promise<{ live: Generation | undefined; building: Generation | undefined }> {
  const { rows } = await sql<Generation>`
    select generation, code, position, live, reason, problem, started_at as "startedAt"
    from console.generations`.execute(db);
  return { live: rows.find((row) => row.live), building: rows.find((row) => !row.live) };
}

/** Begins a rebuild beside the live tables; finds the one that runs already. */
export async function startRebuild(
  db: Database,
  reason: string,
): Promise<{ generation: number; alreadyRunning: boolean }> {
  return await db.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(1111573323, 3)`.execute(transaction);
    const { live, building } = await readGenerations(transaction);
    if (building !== undefined) return { generation: building.generation, alreadyRunning: true };
    const generation = (live?.generation ?? 0) + 1;
    await open(transaction, generation, reason, false);
    return { generation, alreadyRunning: false };
  });
}

/** Undefined when somebody else has moved it: what was folded from there must be thrown away. */
export async function moveCheckpoint(
  db: Database,
  { generation, position }: Generation,
  next: number,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    update console.generations set position = ${next}, problem = null
    where generation = ${generation} and position = ${position}`.execute(db);
  return numAffectedRows === 1n;
}

export async function noteProblem(db: Database, generation: number, problem: string | null): Promise<void> {
  await sql`update console.generations set problem = ${problem}
    where generation = ${generation} and problem is distinct from ${problem}`.execute(db);
}

/**
 * Puts the built tables in the place of the live ones, unless they are still behind: what an operator sees never goes back.
 * Readers wait for a moment at most: they hold no table for long.
 */
export async function swapIn(db: Database, building: Generation): Promise<boolean> {
  return await db.transaction().execute(async (transaction) => {
    await sql`set local lock_timeout = '5s'`.execute(transaction);
    await sql`select pg_advisory_xact_lock(1111573323, 3)`.execute(transaction);
    await sql`select from console.generations for update`.execute(transaction);
    const now = await readGenerations(transaction);
    if (now.live === undefined || now.building?.generation !== building.generation) return false;
    if (now.building.position < now.live.position) return false;
    for (const projection of projections) await pointView(transaction, projection, building.generation);
    await drop(transaction, now.live.generation);
    await sql`update console.generations set live = true where generation = ${building.generation}`.execute(
      transaction,
    );
    return true;
  });
}

async function open(db: Database, generation: number, reason: string, live: boolean): Promise<void> {
  for (const projection of projections) {
    await createTable(db, projection, generation);
    if (live) await pointView(db, projection, generation);
  }
  await sql`insert into console.generations (generation, code, live, reason)
    values (${generation}, ${CODE}, ${live}, ${reason})`.execute(db);
}

/** Also tables of projections that this release has no more: whatever is named for the generation. */
async function drop(db: Database, generation: number): Promise<void> {
  const { rows } = await sql<{ name: string }>`
    select tablename as name from pg_tables
    where schemaname = 'console' and tablename ~ ${`_v${generation}$`}`.execute(db);
  for (const { name } of rows) await sql`drop table ${sql.table(`console.${name}`)} cascade`.execute(db);
  await sql`delete from console.generations where generation = ${generation}`.execute(db);
}

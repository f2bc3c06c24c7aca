/**
 * Rows of one projection in one generation of its table. Rows travel as one JSON parameter both ways, so a page costs
 * the same few statements whatever the number of its rows.
 */
import type { Kysely } from 'kysely';
import { sql } from 'kysely';
import type { AnyProjection, Column, PageChanges, Selection } from '../projection.ts';

export type Row = Record<string, unknown>;
// biome-ignore lint/suspicious/noExplicitAny: table names carry their generation, so no static schema can name them
export type Database = Kysely<any>;

const types: Record<Column, string> = {
  text: 'text collate "C"',
  integer: 'integer',
  bigint: 'bigint',
  boolean: 'boolean',
  // To the millisecond: a value that is read and written back must not change, or a rebuild would differ.
  instant: 'timestamptz(3)',
  json: 'jsonb',
  'text[]': 'text[]',
};

const columnNames = new Map<string, string>();

/** `backupId` is kept in the column `backup_id`. */
export function columnName(property: string): string {
  let name = columnNames.get(property);
  if (name === undefined) {
    name = property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    columnNames.set(property, name);
  }
  return name;
}

export const tableName = (table: string, generation: number): string => `${table}_v${generation}`;
export const tableRef = (table: string, generation: number) =>
  sql.table(`console.${tableName(table, generation)}`);

const refs = (columns: readonly string[]) => sql.join(columns.map((column) => sql.ref(columnName(column))));

export async function createTable(
  db: Database,
  projection: AnyProjection,
  generation: number,
): Promise<void> {
  const columns = Object.entries(projection.columns).map(
    ([column, type]) => sql`${sql.ref(columnName(column))} ${sql.raw(types[type as Column])}`,
  );
  const table = tableRef(projection.table, generation);
  await sql`create table ${table} (${sql.join(columns)}, primary key (${refs(projection.key)}))`.execute(db);
  for (const index of projection.indexes) await sql`create index on ${table} (${refs(index)})`.execute(db);
}

/** The stable name under which people find the rows: a view of the table in use. */
export async function pointView(db: Database, projection: AnyProjection, generation: number): Promise<void> {
  const view = sql.table(`console.${projection.table}`);
  await sql`drop view if exists ${view}`.execute(db);
  await sql`create view ${view} as select * from ${tableRef(projection.table, generation)}`.execute(db);
}

export async function loadRows(
  db: Database,
  projection: AnyProjection,
  generation: number,
  selections: { keys: readonly Selection<Row>[]; groups: readonly Selection<Row>[] },
): Promise<Row[]> {
  const table = tableRef(projection.table, generation);
  const rows = new Map<string, Row>();
  const collect = (found: readonly Row[]): void => {
    for (const row of found) rows.set(JSON.stringify(projection.key.map((key) => row[columnName(key)])), row);
  };
  if (selections.keys.length > 0) {
    const wanted = toJson(selections.keys);
    const { rows: found } = await sql<Row>`
      select t.* from jsonb_populate_recordset(null::${table}, ${wanted}::jsonb) k
      join ${table} t using (${refs(projection.key)})`.execute(db);
    collect(found);
  }
  for (const group of selections.groups) {
    const conditions = Object.entries(group).map(
      ([column, value]) => sql`${sql.ref(columnName(column))} = ${value}`,
    );
    const { rows: found } = await sql<Row>`
      select * from ${table} where ${sql.join(conditions, sql` and `)}`.execute(db);
    collect(found);
  }
  return [...rows.values()].map((row) => decode(projection, row));
}

export async function saveRows(
  db: Database,
  projection: AnyProjection,
  generation: number,
  { changed, removed }: PageChanges<Row>,
): Promise<void> {
  const table = tableRef(projection.table, generation);
  const columns = Object.keys(projection.columns);
  if (changed.length > 0) {
    const replaced = columns
      .filter((column) => !projection.key.includes(column))
      .map((column) => sql`${sql.ref(columnName(column))} = excluded.${sql.ref(columnName(column))}`);
    await sql`
      insert into ${table} (${refs(columns)})
      select ${refs(columns)} from jsonb_populate_recordset(null::${table}, ${toJson(changed)}::jsonb)
      on conflict (${refs(projection.key)}) do update set ${sql.join(replaced)}`.execute(db);
  }
  if (removed.length > 0) {
    const same = projection.key.map(
      (key) => sql`t.${sql.ref(columnName(key))} = gone.${sql.ref(columnName(key))}`,
    );
    await sql`
      delete from ${table} t using jsonb_populate_recordset(null::${table}, ${toJson(removed)}::jsonb) gone
      where ${sql.join(same, sql` and `)}`.execute(db);
  }
}

/** A row as the folds and the API know it. */
export function decode(projection: AnyProjection, row: Row): Row {
  const decoded: Row = {};
  for (const [column, type] of Object.entries(projection.columns)) {
    const value = row[columnName(column)];
    decoded[column] = type === 'instant' && typeof value === 'string' ? new Date(value).toISOString() : value;
  }
  return decoded;
}

/** As the columns are named. Keys that a selection does not have stay out. */
function toJson(rows: readonly Row[]): string {
  const named = rows.map((row) =>
    Object.fromEntries(Object.entries(row).map(([column, value]) => [columnName(column), value])),
  );
  return JSON.stringify(named, storable);
}

/** Postgres keeps no NUL and no half of a surrogate pair in jsonb; the log does, in what a bad request said. */
function storable(_key: string, value: unknown): unknown {
  if (typeof value !== 'string' || (value.isWellFormed() && !value.includes('\0'))) return value;
  return value.toWellFormed().replaceAll('\0', '\uFFFD');
}

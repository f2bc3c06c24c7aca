/**
 * A projection, as a pure fold of events into the rows of one table. The promises that let a table be rebuilt from
 * position zero with an identical result, whatever the size of the pages:
 * - a row depends on its own earlier self and on the events that concern it, and on nothing else (no clock, no other row);
 * - a fold never refuses, and an event from a newer release changes nothing.
 * A page of events is folded in memory: a row that a thousand events of the page concern is read once and written once.
 */
import type { Recorded } from '@backhaul/contracts';

/** How a column is kept in Postgres. Instants are to the millisecond; `json` is for what only people look into. */
export type Column = 'text' | 'integer' | 'bigint' | 'boolean' | 'instant' | 'json' | 'text[]';

/**
 * Rows that an event concerns. One that names the whole key means that row, whether it stands already or not; any other
 * means every standing row with these values.
 */
export type Selection<Row> = Partial<Row>;

/** A row as the fold sees it. `position` is kept by `foldPage`. */
export type Folded<Row> = Omit<Row, 'position'>;

export interface Projection<Row extends { position: number }> {
  readonly table: string;
  readonly key: readonly (keyof Row & string)[];
  readonly columns: { readonly [K in keyof Row]: Column };
  /** Columns to be found by, apart from the key: for lists, filters and selections. */
  readonly indexes: readonly (readonly (keyof Row & string)[])[];
  concerns(event: Recorded): readonly Selection<Row>[];
  /** Undefined: there is no such row (yet, or any more). The same object: nothing changed. */
  evolve(row: Folded<Row> | undefined, event: Recorded, selection: Selection<Row>): Folded<Row> | undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: a list of projections holds rows of every kind
export type AnyProjection = Projection<any>;

export const keyOf = (projection: AnyProjection, row: Record<string, unknown>): string =>
  projection.key.length === 1
    ? String(row[projection.key[0] as string])
    : JSON.stringify(projection.key.map((column) => row[column]));

/** True when the selection names one row by its whole key. */
export const isKey = (projection: AnyProjection, selection: Record<string, unknown>): boolean =>
  projection.key.every((column) => selection[column] !== undefined);

/** What has to be read before a page can be folded, each once. */
export function selectionsOf<Row extends { position: number }>(
  projection: Projection<Row>,
  events: readonly Recorded[],
): { keys: Selection<Row>[]; groups: Selection<Row>[] } {
  const keys = new Map<string, Selection<Row>>();
  const groups = new Map<string, Selection<Row>>();
  for (const event of events) {
    for (const selection of projection.concerns(event)) {
      if (isKey(projection, selection)) {
        const key = keyOf(projection, selection);
        if (!keys.has(key)) keys.set(key, selection);
      } else {
        groups.set(JSON.stringify(selection), selection);
      }
    }
  }
  return { keys: [...keys.values()], groups: [...groups.values()] };
}

export interface PageChanges<Row> {
  readonly changed: readonly Row[];
  readonly removed: readonly Row[];
}

/** Folds a page over the rows that stand. `standing` must hold every row that `selectionsOf` asked for. */
export function foldPage<Row extends { position: number }>(
  projection: Projection<Row>,
  standing: readonly Row[],
  events: readonly Recorded[],
): PageChanges<Row> {
  const before = new Map<string, Row>(standing.map((row) => [keyOf(projection, row), row]));
  const rows = new Map<string, Folded<Row>>(before);
  const touchedAt = new Map<string, number>();

  const apply = (key: string, event: Recorded, selection: Selection<Row>): void => {
    const row = rows.get(key);
    const next = projection.evolve(row, event, selection);
    if (next === row) return;
    touchedAt.set(key, event.position);
    if (next === undefined) rows.delete(key);
    else rows.set(key, next);
  };

  for (const event of events) {
    for (const selection of projection.concerns(event)) {
      if (isKey(projection, selection)) apply(keyOf(projection, selection), event, selection);
      else for (const key of matching(rows, selection)) apply(key, event, selection);
    }
  }

  const changed: Row[] = [];
  const removed: Row[] = [];
  for (const [key, position] of touchedAt) {
    const row = rows.get(key);
    const old = before.get(key);
    if (row !== undefined) changed.push({ ...row, position } as Row);
    else if (old !== undefined) removed.push(old);
  }
  return { changed, removed };
}

function matching<Row>(rows: ReadonlyMap<string, Folded<Row>>, selection: Selection<Row>): string[] {
  const wanted = Object.entries(selection);
  const keys: string[] = [];
  for (const [key, row] of rows) {
    const values = row as Record<string, unknown>;
    if (wanted.every(([column, value]) => values[column] === value)) keys.push(key);
  }
  return keys;
}

/** For tests and for small logs: the rows after a whole history, in one page. */
export const projected = <Row extends { position: number }>(
  projection: Projection<Row>,
  events: readonly Recorded[],
): readonly Row[] => foldPage(projection, [], events).changed;

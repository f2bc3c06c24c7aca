/**
 * Keyset paging: a cursor names the last row of a page by the columns that order it, so pages stay right while rows come
 * and go, and the thousandth page costs what the first does.
 */
import { type RawBuilder, sql } from 'kysely';
import { z } from 'zod';
import { badRequest } from './problem.ts';

export const LIMIT_MAX = 500;

export const paging = {
  limit: z.coerce
    .number({ error: 'must be a number' })
    .int('must be a whole number')
    .min(1, 'must be at least 1')
    .max(LIMIT_MAX, `must be at most ${LIMIT_MAX}`)
    .default(50)
    .describe('Items per page'),
  after: z.string().min(1).optional().describe('The `next` of the page before'),
};

export interface Order {
  /** Columns as they are named in Postgres. Together they are unique. */
  readonly columns: readonly string[];
  readonly direction: 'asc' | 'desc';
}

const Cursor = z.array(z.union([z.string(), z.number()]));

export const cursorOf = (order: Order, row: Record<string, unknown>): string =>
  Buffer.from(JSON.stringify(order.columns.map((column) => row[column]))).toString('base64url');

export function afterCursor(order: Order, cursor: string): RawBuilder<unknown> {
  const values = decoded(cursor);
  if (values?.length !== order.columns.length) {
    throw badRequest(
      'BadCursor',
      `Query parameter after is not a cursor of this list: ${cursor.slice(0, 80)}.`,
      'Give the `next` of an earlier page of the same list, or leave it out to begin at the start.',
    );
  }
  const columns = sql.join(order.columns.map((column) => sql.ref(column)));
  return sql`(${columns}) ${sql.raw(order.direction === 'asc' ? '>' : '<')} (${sql.join(values)})`;
}

export function orderBy({ columns, direction }: Order): RawBuilder<unknown> {
  return sql.join(columns.map((column) => sql`${sql.ref(column)} ${sql.raw(direction)}`));
}

function decoded(cursor: string): (string | number)[] | undefined {
  try {
    return Cursor.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')));
  } catch {
    return undefined;
  }
}

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
  /** Together they are unique. */
  readonly columns: readonly OrderColumn[];
  readonly direction: 'asc' | 'desc';
}

export interface OrderColumn {
  /** As it is named in Postgres. */
  readonly name: string;
  /** What a cursor may say of it, and as what it is compared. */
  readonly value: z.ZodType<string | number>;
  readonly type: 'text' | 'bigint';
}

/** No text of Postgres has a zero byte. */
export const Text = z.string().regex(/^[^\0]*$/, 'must not have a zero byte');
const Whole = z.coerce.number().pipe(z.int());

export const text = (name: string): OrderColumn => ({ name, value: Text, type: 'text' });
export const whole = (name: string): OrderColumn => ({ name, value: Whole, type: 'bigint' });

export const cursorOf = (order: Order, row: Record<string, unknown>): string =>
  Buffer.from(JSON.stringify(order.columns.map(({ name }) => row[name]))).toString('base64url');

export function afterCursor(order: Order, cursor: string): RawBuilder<unknown> {
  const values = decoded(order, cursor);
  if (values === undefined) {
    throw badRequest(
      'BadCursor',
      `Query parameter after is not a cursor of this list: ${cursor.slice(0, 80)}.`,
      'Give the `next` of an earlier page of the same list, or leave it out to begin at the start.',
    );
  }
  const columns = sql.join(order.columns.map(({ name }) => sql.ref(name)));
  const compared = order.columns.map(({ type }, index) => sql`${values[index]}::${sql.raw(type)}`);
  return sql`(${columns}) ${sql.raw(order.direction === 'asc' ? '>' : '<')} (${sql.join(compared)})`;
}

export function orderBy({ columns, direction }: Order): RawBuilder<unknown> {
  return sql.join(columns.map(({ name }) => sql`${sql.ref(name)} ${sql.raw(direction)}`));
}

function decoded({ columns }: Order, cursor: string): (string | number)[] | undefined {
  try {
    const values: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (!Array.isArray(values) || values.length !== columns.length) return undefined;
    return columns.map(({ value }, index) => value.parse(values[index]));
  } catch {
    return undefined;
  }
}

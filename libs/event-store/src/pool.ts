/**
 * Connections to Postgres. Every wait on them ends: connecting, a statement, a transaction left idle, an answer that never comes.
 * A server that goes away rejects what was under way and nothing else: the process lives on, and the next query connects anew.
 */
import { Fault } from '@backhaul/kernel';
import { Kysely, PostgresDialect } from 'kysely';
import pg, { type Pool, type PoolClient } from 'pg';

const STATEMENT_MILLISECONDS = 30_000;

export function openPool(options: { url: string; poolSize: number; applicationName: string }): Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    application_name: options.applicationName,
    max: options.poolSize,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    statement_timeout: STATEMENT_MILLISECONDS,
    idle_in_transaction_session_timeout: 60_000,
    // The server's own time-out comes first; this one is for a server that does not answer at all.
    query_timeout: STATEMENT_MILLISECONDS + 5_000,
    // The append counts on seeing what other transactions have committed; compiling such short queries only costs time.
    options: '-c default_transaction_isolation=read\\ committed -c timezone=UTC -c jit=off',
    types: { getTypeParser },
  });
  // Without these listeners a connection that breaks while nobody waits on it would end the process.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

/** Positions and counts as numbers (they stay far below 2^53), instants as ISO 8601 in UTC. */
const parsers: Record<number, (text: string) => unknown> = {
  [pg.types.builtins.INT8]: Number,
  [pg.types.builtins.TIMESTAMPTZ]: instantOf,
  1016: numbersOf, // int8[]
  1007: numbersOf, // int4[]
};

function getTypeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  const parser = format === 'binary' ? undefined : parsers[oid];
  return parser ?? pg.types.getTypeParser(oid, format as 'text');
}

/** `2026-11-22 10:00:00.123+00` as `2026-11-22T10:00:00.123Z`. The session's time zone is UTC. */
export function instantOf(text: string): string {
  return `${text.slice(0, 10)}T${text.slice(11, -3)}Z`;
}

function numbersOf(text: string): number[] {
  return JSON.parse(`[${text.slice(1, -1)}]`);
}

// biome-ignore lint/suspicious/noExplicitAny: every service brings the tables it knows
export const kyselyOn = (pool: Pool): Kysely<any> => new Kysely({ dialect: new PostgresDialect({ pool }) });

/** Kysely inside a transaction that is not its own: it neither opens nor ends one, nor gives the connection back. */
// biome-ignore lint/suspicious/noExplicitAny: as above
export function kyselyWithin(client: PoolClient): Kysely<any> {
  const borrowed = { query: client.query.bind(client), release: () => undefined };
  return new Kysely({
    dialect: new PostgresDialect({
      pool: { connect: async () => borrowed, end: async () => undefined } as never,
    }),
  });
}

/** One transaction on one connection. What `work` throws comes out as it is; a connection that broke is not used again. */
export async function inTransaction<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('begin isolation level read committed');
    const result = await work(client);
    const ended = await client.query('commit');
    // Postgres answers a commit of a failed transaction with a rollback, and no error.
    if (ended.command !== 'COMMIT') {
      throw new Fault(
        'The transaction was rolled back: a statement of it had failed and the error was swallowed',
        {
          permanent: true,
        },
      );
    }
    return result;
  } catch (error) {
    await client.query('rollback').catch((cause: Error) => {
      broken = cause;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}

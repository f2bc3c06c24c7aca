/**
 * Brings a database to the schema of this release. Safe to run at every start and by several processes at once: one does the work
 * in one transaction, the others wait and find it done. A migration that was released is never edited; a new one follows it.
 */
import { readFile } from 'node:fs/promises';
import type { Service } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import pg from 'pg';
import { postgresFault } from './postgres-fault.ts';
import { createRoles, recordOwners } from './roles.ts';
import { FOLDER, migrations } from './schema.ts';

/** An index over a log of years takes its time, and its services wait meanwhile. */
const STATEMENT_MILLISECONDS = 3_600_000;

/** `adminUrl`: somebody who may create roles and owns the database. `rolePassword`: one for all services, or one each. */
export async function migrate(options: {
  adminUrl: string;
  rolePassword: string | ((service: Service) => string);
}): Promise<void> {
  const { adminUrl, rolePassword } = options;
  const admin = new pg.Client({
    connectionString: adminUrl,
    application_name: 'backhaul-migrate',
    connectionTimeoutMillis: 10_000,
    statement_timeout: STATEMENT_MILLISECONDS,
  });
  admin.on('error', () => undefined); // a lost connection rejects the query at work, which is enough
  try {
    await admin.connect();
    await createRoles(admin, typeof rolePassword === 'string' ? () => rolePassword : rolePassword);
    await admin.query('begin');
    await admin.query('select pg_advisory_xact_lock(1111573323, 2)');
    await applyMissing(admin);
    await recordOwners(admin);
    await admin.query('commit');
  } catch (cause) {
    throw postgresFault(`Migrating the database ${new URL(adminUrl).pathname.slice(1)}`, cause);
  } finally {
    await admin.end().catch(() => undefined);
  }
}

async function applyMissing(admin: pg.Client): Promise<void> {
  await admin.query(
    `create table if not exists public.schema_migrations (
       name text primary key, applied_at timestamptz not null default now())`,
  );
  const files = await migrations();
  const { rows } = await admin.query<{ name: string }>('select name from public.schema_migrations');
  const applied = new Set(rows.map((row) => row.name));
  for (const name of applied) {
    if (!files.includes(name)) {
      throw new Fault(`The database has migration ${name}, which this release does not know: it is newer`, {
        permanent: true,
      });
    }
  }
  for (const name of files.filter((file) => !applied.has(file))) {
    try {
      await admin.query(await readFile(new URL(name, FOLDER), 'utf8'));
    } catch (cause) {
      throw new Error(`Migration ${name}`, { cause });
    }
    await admin.query('insert into public.schema_migrations (name) values ($1)', [name]);
  }
}

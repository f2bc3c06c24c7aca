/**
 * The schema of this release: the files of sql/, in order. A service that is started before the database was brought to it must not
 * work at all: what fails then for want of a function would pass for the fault of a message.
 */
import { readdir } from 'node:fs/promises';
import { Fault } from '@backhaul/kernel';
import type { Pool } from 'pg';
import { stateOf } from './postgres-fault.ts';

export const FOLDER = new URL('./sql/', import.meta.url);

/** Not there; or not for this role to read, as before the release that looks. */
const NOT_MIGRATED = ['42P01', '42501'];

export const migrations = async (): Promise<string[]> =>
  (await readdir(FOLDER)).filter((file) => file.endsWith('.sql')).sort();

/** Throws a retryable Fault with the way out while a migration of this release is missing. Newer ones are no concern of it. */
export async function requireSchema(pool: Pool): Promise<void> {
  const applied = await pool
    .query<{ name: string }>('select name from public.schema_migrations')
    .then(({ rows }) => new Set(rows.map(({ name }) => name)))
    .catch((error: unknown) => {
      if (NOT_MIGRATED.includes(stateOf(error) ?? '')) return new Set<string>();
      throw error;
    });
  const missing = (await migrations()).filter((name) => !applied.has(name));
  if (missing.length === 0) return;
  const what = `${missing.length} of this release's migrations ${missing.length === 1 ? 'is' : 'are'} missing (the first: ${missing[0]})`;
  throw new Fault(
    `The database is not at the schema of this release: ${what}. Run \`backhaul database prepare\``,
    {
      code: 'SchemaBehind',
    },
  );
}

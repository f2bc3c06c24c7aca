/**
 * A login role of Postgres per service. Roles belong to the whole cluster, so several databases of one cluster share
 * them; what a role may do is granted in each database by its migrations.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { owners, type Service } from '@backhaul/contracts';
import { Fault } from '@backhaul/kernel';
import type { Client } from 'pg';
import { stateOf } from './postgres-fault.ts';

/** What every service may do is granted to this group, which nobody logs in as. */
const GROUP = 'backhaul_service';

const roles: Record<Service, string> = {
  trigger: 'backhaul_trigger',
  planner: 'backhaul_planner',
  'proxy-manager': 'backhaul_proxy_manager',
  ingest: 'backhaul_ingest',
  export: 'backhaul_export',
  console: 'backhaul_console',
};
export const services = Object.keys(roles) as readonly Service[];
export const roleOf = (service: Service): string => roles[service];

/** The URL with which a service logs in to the database that `adminUrl` names. */
export function serviceUrl(adminUrl: string, service: Service, password: string): string {
  const url = new URL(adminUrl);
  url.username = roleOf(service);
  url.password = encodeURIComponent(password);
  return url.href;
}

/** Makes what is missing and sets the passwords. Several processes may do so at once, also for several databases. */
export async function createRoles(admin: Client, passwordOf: (service: Service) => string): Promise<void> {
  await settle(admin, GROUP, 'nologin');
  for (const service of services) {
    const verifier = admin.escapeLiteral(scramVerifier(passwordOf(service)));
    await settle(
      admin,
      roleOf(service),
      `login password ${verifier} in role ${GROUP}`,
      `password ${verifier}`,
    );
  }
}

/** Puts the owners of contracts into the database: a release that adds a category brings its owner. */
export async function recordOwners(admin: Client): Promise<void> {
  const categories = Object.keys(owners) as (keyof typeof owners)[];
  await admin.query(
    `insert into public.owners (category, role) select * from unnest($1::text[], $2::name[])
     on conflict (category) do update set role = excluded.role where owners.role <> excluded.role`,
    [categories, categories.map((category) => roleOf(owners[category]))],
  );
}

async function settle(admin: Client, role: string, made: string, altered?: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { rowCount } = await admin.query('select from pg_roles where rolname = $1', [role]);
      if (rowCount === 0) await admin.query(`create role ${role} ${made}`);
      else if (altered !== undefined) await admin.query(`alter role ${role} ${altered}`);
      return;
    } catch (cause) {
      // Another process made or altered the same role in the same moment: 42710 and 23505 on create, XX000 on alter.
      const raced = ['42710', '23505', 'XX000'].includes(stateOf(cause) ?? '');
      if (!raced || attempt === 20) throw new Fault(`Creating the database role ${role} failed`, { cause });
      await new Promise((resolve) => setTimeout(resolve, 10 * attempt));
    }
  }
}

/** What Postgres keeps of a password (RFC 5803). Sent in its place, so that no password ever stands in a server's log. */
function scramVerifier(password: string): string {
  const [iterations, salt] = [4096, randomBytes(16)];
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, iterations, 32, 'sha256');
  const keyed = (text: string): Buffer => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(keyed('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${keyed('Server Key').toString('base64')}`;
}

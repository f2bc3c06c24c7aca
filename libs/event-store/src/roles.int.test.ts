import { randomUUID } from 'node:crypto';
import { isPermanent } from '@backhaul/kernel';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { context, proxyIdle, vmClaimed } from './examples.fixture.ts';
import { migrate } from './migrate.ts';
import { connectEventStore } from './postgres-event-store.ts';
import { serviceUrl } from './roles.ts';
import { openTestStore, TEST_PASSWORD, type TestStore } from './testing.ts';

let server: TestStore;
beforeAll(async () => {
  server = await openTestStore();
  const store = await server.store('proxy-manager');
  await store.append([{ stream: 'host-h1', expected: 'none', events: [proxyIdle('p1')] }], context());
}, 60_000);
afterAll(() => server?.close(), 60_000);

/** Runs one statement as somebody and answers its SQLSTATE, or `done`. */
async function tried(url: string, statement: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
    return 'done';
  } catch (error) {
    return error instanceof pg.DatabaseError ? `${error.code} ${error.message}` : String(error);
  } finally {
    await client.end();
  }
}

async function queried(url: string, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(statement)).rows;
  } finally {
    await client.end();
  }
}

const REFUSED = /^42501 /;

describe('the log only grows', () => {
  test.each([
    "update public.events set type = 'Other'",
    'update public.events set type = type where false',
    'delete from public.events',
    'truncate public.events',
    'truncate public.events cascade',
  ])('%s is refused by Postgres, to a service and to the owner of the table', async (statement) => {
    expect(await tried(server.urlOf('proxy-manager'), statement)).toMatch(REFUSED);
    expect(await tried(server.adminUrl, statement)).toMatch(/^42501 The log only grows/);
  });

  test.each([
    `insert into public.events (position) values (1)`,
    `insert into public.streams values ('host-h2', 0)`,
    `update public.streams set version = 0`,
    `select nextval('public.log_position')`,
    `insert into public.owners values ('host', 'backhaul_ingest')`,
    `update public.owners set role = 'backhaul_ingest'`,
    `create table public.mine ()`,
    `alter table public.events disable trigger all`,
  ])('a service cannot go around the append: %s', async (statement) => {
    expect(await tried(server.urlOf('proxy-manager'), statement)).toMatch(REFUSED);
  });
});

describe('a category has one owner', () => {
  test('another service is refused by Postgres itself, for good', async () => {
    const trigger = await server.store('trigger');
    const claimed = [{ stream: 'vm-h1.v1' as const, expected: 'any' as const, events: [vmClaimed('v1')] }];
    expect((await trigger.append(claimed, context())).ok).toBe(true);

    const ingest = await server.store('ingest');
    const refused = await ingest.append(claimed, context()).catch((error: unknown) => error);
    expect(isPermanent(refused)).toBe(true);
    expect(refused).toMatchObject({ code: '42501', message: 'Appending to vm-h1.v1 failed' });
  });

  test.each(['vm-h1 v1', 'vm-', 'vm-naïve', `vm-${'x'.repeat(400)}`])(
    'no stream is named %s',
    async (stream) => {
      const trigger = await server.store('trigger');
      const append = trigger.append(
        [{ stream: stream as `vm-${string}`, expected: 'any', events: [vmClaimed('v1')] }],
        context(),
      );
      await expect(append).rejects.toMatchObject({ permanent: true, code: '23514' });
    },
  );

  test('one foreign stream among several refuses them all', async () => {
    const ingest = await server.store('proxy-manager');
    const appends = [
      { stream: 'host-h9' as const, expected: 'any' as const, events: [proxyIdle('p1')] },
      { stream: 'vm-h1.v9' as const, expected: 'any' as const, events: [vmClaimed('v9')] },
    ];
    await expect(ingest.append(appends, context())).rejects.toMatchObject({ code: '42501' });
    expect(await ingest.readStreamPage('host-h9')).toMatchObject({ version: 0 });
  });

  test('the owner of the tables is none of them', async () => {
    const admin = await connectEventStore({ url: server.adminUrl });
    try {
      const append = admin.append(
        [{ stream: 'host-h1', expected: 'any', events: [proxyIdle('p')] }],
        context(),
      );
      await expect(append).rejects.toMatchObject({ code: '42501' });
    } finally {
      await admin.close();
    }
  });
});

describe('beside the log', () => {
  test('a service writes its own relay checkpoint and reads those of others', async () => {
    const write = (service: string) =>
      `insert into relay_checkpoints (service, position) values ('${service}', 1)
       on conflict (service) do update set position = relay_checkpoints.position + 1`;
    expect(await tried(server.urlOf('proxy-manager'), write('proxy-manager'))).toBe('done');
    expect(await tried(server.urlOf('proxy-manager'), write('proxy-manager'))).toBe('done');
    expect(await tried(server.urlOf('proxy-manager'), write('ingest'))).toMatch(REFUSED);
    expect(await tried(server.urlOf('ingest'), write('proxy-manager'))).toMatch(REFUSED);
    const console = await server.store('console');
    const seen = await console.kysely
      .selectFrom('relay_checkpoints')
      .select(['service', 'position'])
      .execute();
    expect(seen).toEqual([{ service: 'proxy-manager', position: 2 }]);
  });

  test('the console owns its schema, and only there can it make tables', async () => {
    expect(await tried(server.urlOf('console'), 'create table console.backups (id uuid)')).toBe('done');
    expect(await tried(server.urlOf('console'), 'create table public.backups (id uuid)')).toMatch(REFUSED);
    expect(await tried(server.urlOf('trigger'), 'create table console.mine (id uuid)')).toMatch(REFUSED);
  });
});

describe('migrating', () => {
  test('again changes nothing', async () => {
    await migrate({ adminUrl: server.adminUrl, rolePassword: TEST_PASSWORD });
    const store = await server.store('ingest');
    expect((await store.readStreamPage('host-h1')).version).toBe(1);
  });

  test('by several processes at once, over several databases of the cluster, is done once in each', async () => {
    const urls = await Promise.all(['one', 'two'].map((name) => server.server.createDatabase(name)));
    const runs = urls.flatMap((adminUrl) => [adminUrl, adminUrl, adminUrl]);
    await Promise.all(runs.map((adminUrl) => migrate({ adminUrl, rolePassword: TEST_PASSWORD })));
    for (const adminUrl of urls) {
      const store = await connectEventStore({ url: serviceUrl(adminUrl, 'proxy-manager', TEST_PASSWORD) });
      const appended = await store.append(
        [{ stream: 'host-h1', expected: 'none', events: [proxyIdle('p')] }],
        context(),
      );
      expect(appended.ok && appended.value.events[0]?.position).toBe(1);
      await store.close();
    }
  });

  test('a database of a newer release is refused, naming what is not known', async () => {
    const adminUrl = await server.server.createDatabase('newer');
    await migrate({ adminUrl, rolePassword: TEST_PASSWORD });
    await tried(adminUrl, `insert into public.schema_migrations (name) values ('9999-later.sql')`);
    await expect(migrate({ adminUrl, rolePassword: TEST_PASSWORD })).rejects.toThrow(/9999-later.sql/);
  });

  test('connecting to a database that is not at the schema of this release says so, and works once it is', async () => {
    const adminUrl = await server.server.createDatabase('behind');
    const url = serviceUrl(adminUrl, 'ingest', TEST_PASSWORD);
    const connecting = (to: string) => connectEventStore({ url: to }).then((store) => store.close());
    const behind = { permanent: false, code: 'SchemaBehind' };
    await expect(connecting(adminUrl)).rejects.toMatchObject({
      ...behind,
      message: expect.stringContaining('backhaul database prepare'),
    });
    await migrate({ adminUrl, rolePassword: TEST_PASSWORD });
    const forget = `delete from public.schema_migrations where name like '0007%' returning name`;
    const [latest] = (await queried(adminUrl, forget)) as { name: string }[];
    await expect(connecting(url)).rejects.toMatchObject({
      ...behind,
      message: expect.stringContaining(`${latest?.name}`),
    });
    // As an earlier release left it, which did not let its services look.
    await queried(adminUrl, 'revoke select on public.schema_migrations from backhaul_service');
    await expect(connecting(url)).rejects.toMatchObject(behind);
    await queried(adminUrl, 'grant select on public.schema_migrations to backhaul_service');
    await queried(
      adminUrl,
      `insert into public.schema_migrations values ('${latest?.name}'), ('9999-newer.sql')`,
    );
    await connecting(url);
  });

  test('a password with every kind of character logs in', async () => {
    const rolePassword = `a/b:c@d?e#f%g'h" ${randomUUID()} ü`;
    await migrate({ adminUrl: server.adminUrl, rolePassword });
    const store = await connectEventStore({ url: serviceUrl(server.adminUrl, 'ingest', rolePassword) });
    await store.close();
    await migrate({ adminUrl: server.adminUrl, rolePassword: TEST_PASSWORD });
  });
});

import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { natsAddress } from '@backhaul/kernel';
import { connect } from 'nats';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startNats } from './nats.ts';
import { startPostgres } from './postgres.ts';
import { passwordsOf } from './secret.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'backhaul-servers-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

test('PostgreSQL starts as root, makes databases and stops', async () => {
  const server = await startPostgres({ directory: join(directory, 'pg') });
  try {
    const client = new pg.Client({ connectionString: await server.createDatabase('one') });
    await client.connect();
    expect((await client.query('select current_database() as name')).rows).toEqual([{ name: 'one' }]);
    await client.end();
  } finally {
    await server.stop();
  }
});

test('NATS keeps its streams over a kill, and loses them when wiped', async () => {
  const server = await startNats({ directory: join(directory, 'nats') });
  const streams = async (): Promise<number> => {
    const connection = await connect({ servers: server.url });
    const manager = await connection.jetstreamManager();
    const { streams } = await manager.getAccountInfo();
    await connection.close();
    return streams;
  };
  try {
    const connection = await connect({ servers: server.url, reconnect: false });
    await (await connection.jetstreamManager()).streams.add({ name: 'KEPT', subjects: ['kept.>'] });
    await server.kill();
    await server.restart();
    expect(await streams()).toBe(1);
    await server.kill();
    await server.wipe();
    await server.restart();
    expect(await streams()).toBe(0);
  } finally {
    await server.stop();
  }
});

test('NATS with a token lets in who knows it, and nobody else', async () => {
  const server = await startNats({ directory: join(directory, 'guarded'), token: 'a-token_1' });
  try {
    expect(((await stat(join(directory, 'guarded.conf'))).mode & 0o777).toString(8)).toBe('600');
    const connection = await connect({ ...natsAddress(server.url), reconnect: false });
    await connection.close();
    const { servers } = natsAddress(server.url);
    await expect(connect({ servers, reconnect: false })).rejects.toThrow('Authorization Violation');
  } finally {
    await server.stop();
  }
});

test('a PostgreSQL that was made with another password learns the one it is started with', async () => {
  const login = async (url: string): Promise<void> => {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => undefined);
    await client.connect().finally(() => client.end().catch(() => undefined));
  };
  const options = { directory: join(directory, 'learning'), keep: true };
  const before = await startPostgres({ ...options, password: 'lost' });
  await before.createDatabase('kept');
  await before.stop();
  const server = await startPostgres({ ...options, keep: false, password: `n3w'"\\` });
  try {
    await login(await server.database('kept'));
    const url = new URL(server.adminUrl);
    url.password = 'lost';
    await expect(login(url.href)).rejects.toThrow('password authentication failed');
  } finally {
    await server.stop();
  }
});

test("a deployment's passwords stay the same, differ by name, and are its owner's alone", async () => {
  const home = join(directory, 'deployment');
  await mkdir(home);
  const [first, second] = [await passwordsOf(home), await passwordsOf(home)];
  expect([first('nats'), first('postgres')]).toEqual([second('nats'), second('postgres')]);
  expect(first('nats')).not.toBe(first('postgres'));
  expect(first('nats')).toMatch(/^[\w-]{40,}$/);
  expect(((await stat(join(home, 'secret'))).mode & 0o777).toString(8)).toBe('600');
  await mkdir(join(directory, 'another'));
  expect((await passwordsOf(join(directory, 'another')))('nats')).not.toBe(first('nats'));
  await writeFile(join(home, 'secret'), 'cut');
  await expect(passwordsOf(home)).rejects.toThrow('was cut off');
});

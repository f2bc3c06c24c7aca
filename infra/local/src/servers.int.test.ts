import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'nats';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startNats } from './nats.ts';
import { startPostgres } from './postgres.ts';

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

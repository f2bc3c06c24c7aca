/** A deployment's database, as an administrator makes it: on a PostgreSQL of its own, because roles belong to the whole server. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectEventStore, services, serviceUrl } from '@backhaul/event-store';
import { startPostgres } from '@backhaul/local';
import { expect, onTestFinished, test } from 'vitest';
import { runCli } from './run-cli.ts';
import type { Terminal } from './terminal.ts';

async function prepare(adminUrl: string, environment: NodeJS.ProcessEnv) {
  const lines: string[] = [];
  const say = (line: string) => void lines.push(line);
  const terminal: Terminal = { out: say, note: say, isWatched: false };
  const { signal } = new AbortController();
  const exitCode = await runCli(['database', 'prepare', '--admin-url', adminUrl], {
    terminal,
    environment,
    signal,
  });
  return { exitCode, text: lines.join('\n') };
}

test('a database is prepared, each service logs in with its own password, and a release later it is prepared again', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'bh-db-'));
  await chmod(directory, 0o711);
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const server = await startPostgres({ directory: join(directory, 'pg'), settings: ['fsync=off'] });
  onTestFinished(() => server.stop());
  const adminUrl = await server.createDatabase('production');

  expect(await prepare(adminUrl, {})).toEqual({
    exitCode: 2,
    text: expect.stringMatching(
      /trigger .*BACKHAUL_ROLE_PASSWORD_TRIGGER, or BACKHAUL_ROLE_PASSWORD for all/,
    ),
  });
  const passwords = {
    BACKHAUL_ROLE_PASSWORD: 'for-the-others',
    BACKHAUL_ROLE_PASSWORD_PROXY_MANAGER: "it's 100% its own",
  };
  for (const _ of ['installed', 'released again']) {
    const { exitCode, text } = await prepare(adminUrl, passwords);
    expect(exitCode).toBe(0);
    expect(text).toMatch(/Database production at 127\.0\.0\.1:\d+ has the schema of this release/);
    expect(text).not.toContain('its own');
  }
  for (const service of services) {
    const password =
      service === 'proxy-manager'
        ? passwords.BACKHAUL_ROLE_PASSWORD_PROXY_MANAGER
        : passwords.BACKHAUL_ROLE_PASSWORD;
    const url = serviceUrl(adminUrl, service, password);
    const store = await connectEventStore({ url, service });
    expect((await store.readLog(0, { limit: 1 })).events).toEqual([]);
    await store.close();
  }
});

test('what is no URL of a database is refused before anything is asked', async () => {
  expect(await prepare('127.0.0.1', {})).toEqual({
    exitCode: 2,
    text: expect.stringMatching(/--admin-url is to be a URL such as postgresql:/),
  });
});

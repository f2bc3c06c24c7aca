import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { locationsOf } from './locations.ts';
import { writeStackFile } from './stack-file.ts';

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'backhaul-locations-'));
  file = join(folder, 'deep', 'stack.json');
  const url = 'http://127.0.0.1:1';
  await writeStackFile(file, {
    pid: 1,
    consoleUrl: url,
    triggerUrl: url,
    natsUrl: 'nats://x',
    repository: '/from/file',
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a flag wins over the environment, and that over the file', async () => {
  const environment = { BACKHAUL_STACK_FILE: file, BACKHAUL_REPOSITORY: '/from/environment' };
  expect(await locationsOf({ repository: '/from/flag' }, environment).repository()).toBe('/from/flag');
  expect(await locationsOf({}, environment).repository()).toBe('/from/environment');
  expect(await locationsOf({}, { BACKHAUL_STACK_FILE: file }).repository()).toBe('/from/file');
});

test('what is nowhere is asked for, with the ways to say it', async () => {
  const none = locationsOf({}, { BACKHAUL_STACK_FILE: join(folder, 'none.json') });
  await expect(none.client()).rejects.toThrow(
    /"backhaul up", or name it with --console-url or BACKHAUL_CONSOLE_URL/,
  );
});

test('a file that was cut off counts as none, and a wrong URL is named', async () => {
  const broken = join(folder, 'broken.json');
  await writeFile(broken, '{"pid": 1, "cons');
  await expect(locationsOf({}, { BACKHAUL_STACK_FILE: broken }).repository()).rejects.toThrow(
    /Where is the repository/,
  );
  await expect(locationsOf({ consoleUrl: 'zork' }, {}).client()).rejects.toThrow(
    /"zork" is no URL of the console/,
  );
});

/** Says what it was shown. */
async function listener(): Promise<{ url: string; server: Server; shown: (string | undefined)[] }> {
  const shown: (string | undefined)[] = [];
  const server = createServer(({ headers }, response) => {
    shown.push(headers.authorization);
    response.end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, shown };
}

test('the token that "backhaul up" wrote is shown to the services that it started, and to no others', async () => {
  const [ours, other] = [await listener(), await listener()];
  try {
    const stackFile = join(folder, 'token.json');
    await writeStackFile(stackFile, {
      pid: 1,
      consoleUrl: ours.url,
      triggerUrl: ours.url,
      natsUrl: 'nats://x',
      repository: '/r',
      apiToken: 'from-file',
    });
    expect((await stat(stackFile)).mode & 0o777).toBe(0o600);
    const BACKHAUL_STACK_FILE = stackFile;
    const asked = async (flags: object, environment: NodeJS.ProcessEnv): Promise<void> => {
      const locations = locationsOf(flags, { BACKHAUL_STACK_FILE, ...environment });
      for (const client of [await locations.client(), await locations.requester()])
        await client.status().catch(() => undefined);
    };
    await asked({}, {});
    await asked({ triggerUrl: ours.url }, { BACKHAUL_API_TOKEN: 'from-environment' });
    expect(ours.shown).toEqual([
      'Bearer from-file',
      'Bearer from-file',
      'Bearer from-environment',
      'Bearer from-environment',
    ]);
    await asked({ consoleUrl: other.url }, {});
    await asked({ consoleUrl: other.url }, { BACKHAUL_API_TOKEN: 'from-environment' });
    expect(other.shown).toEqual([undefined, undefined, 'Bearer from-environment', 'Bearer from-environment']);
    // Where one of the two is another's, the client for both shows nothing.
    ours.shown.length = 0;
    const half = locationsOf({ triggerUrl: other.url }, { BACKHAUL_STACK_FILE });
    await (await half.requester()).status().catch(() => undefined);
    expect(ours.shown).toEqual([undefined]);
  } finally {
    for (const { server } of [ours, other]) server.close();
  }
});

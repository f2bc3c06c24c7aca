import { mkdtemp, rm, writeFile } from 'node:fs/promises';
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

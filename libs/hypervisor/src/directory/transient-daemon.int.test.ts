/** A look leaves nothing behind, however it ends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@backhaul/kernel';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { processesNaming } from '../processes.ts';
import { withTransientDaemon } from './transient-daemon.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bh-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});
const left = async () => [
  ...(await processesNaming('qemu-storage-daemon', folder)),
  ...(await readdir(folder)),
];

test('a look that succeeds and one that fails both end their daemon', async () => {
  expect(await withTransientDaemon(folder, 'a look', async (qmp) => qmp.version)).toMatch(/\d+\.\d+/);
  const failing = withTransientDaemon(folder, 'a look', () => Promise.reject(new Error('seen enough')));
  await expect(failing).rejects.toThrow('seen enough');
  expect(await left()).toEqual([]);
});

test('a look whose process is killed in the middle ends its daemon all the same', async () => {
  const program = `
    import { withTransientDaemon } from ${JSON.stringify(new URL('./transient-daemon.ts', import.meta.url).href)};
    await withTransientDaemon(${JSON.stringify(folder)}, 'a look', () => {
      console.log('looking');
      return new Promise(() => setInterval(() => {}, 1000));
    });`;
  const looker = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(looker, 'exit');
  try {
    await once(looker.stdout, 'data');
    expect(await left()).toHaveLength(2);
  } finally {
    looker.kill('SIGKILL');
    await ended;
  }
  await eventually('The end of the look', 30_000, async () =>
    (await left()).length === 0 ? true : undefined,
  );
});

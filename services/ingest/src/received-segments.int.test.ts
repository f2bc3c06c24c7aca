import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { KiB } from '@backhaul/kernel';
import { expect, onTestFinished, test } from 'vitest';

test('a restore point of 204,800 pieces is made in the memory of one child job', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'bh-pieces-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const script = fileURLToPath(new URL('./many-pieces.fixture.ts', import.meta.url));
  // With this heap, holding the pieces of all jobs ends the process.
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...['--max-old-space-size=48', script, join(folder, 'repository')],
  ]);
  const { chunks, readBytes, maxRssMebibytes } = JSON.parse(stdout);
  expect(chunks).toBe(204_800);
  expect(readBytes).toBe(204_800 * 64 * KiB);
  expect(maxRssMebibytes).toBeLessThan(250);
}, 120_000);

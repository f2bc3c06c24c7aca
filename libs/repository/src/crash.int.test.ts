import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { plainBytes } from './format/chunk-file.ts';
import { sampleRepository } from './testing/sample-repository.ts';
import { temporaryFolder } from './testing/temporary-folder.ts';
import { verify } from './verify.ts';

interface Acknowledged {
  readonly chunks: string[];
  readonly manifests: string[];
}

/** Runs a writer and kills it the moment it has said `lines` lines. Answers what it had acknowledged. */
async function killedAfter(lines: number, location: string, writer: number): Promise<Acknowledged> {
  const script = fileURLToPath(new URL('./testing/put-until-killed.ts', import.meta.url));
  const child = spawn(process.execPath, [script, location, String(writer)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve) =>
    child.on('exit', (_code, signal) => resolve(signal)),
  );
  // Awaited, or it would write into the folder while that is being removed.
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const said: Acknowledged = { chunks: [], manifests: [] };
  let count = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [kind, name = ''] = line.split(' ');
    (kind === 'chunk' ? said.chunks : said.manifests).push(name);
    count += 1;
    if (count === lines) child.kill('SIGKILL');
  }
  expect(await ended).toBe('SIGKILL');
  return said;
}

test('whenever writers are killed, what they acknowledged is there, and nothing under its name is half', async () => {
  const location = await temporaryFolder();
  const said: Acknowledged[] = [];
  for (let round = 0; round < 6; round += 1) {
    const lines = 1 + Math.floor(Math.random() * 120);
    // Two writers at once, killed at different moments.
    const both = [killedAfter(lines, location, round * 2), killedAfter(lines * 2, location, round * 2 + 1)];
    said.push(...(await Promise.all(both)));
  }

  const repository = await sampleRepository({ location });
  for (const digest of said.flatMap(({ chunks }) => chunks)) await repository.readChunk(digest);
  for (const backupId of said.flatMap(({ manifests }) => manifests)) {
    expect(await repository.readManifest(backupId)).toBeDefined();
  }
  // Also the files that were not acknowledged any more are whole or absent.
  const fanOut = await readdir(join(location, 'chunks'), { recursive: true, withFileTypes: true });
  const files = fanOut.filter((entry) => entry.isFile());
  for (const { parentPath, name } of files) {
    plainBytes(new Uint8Array(await readFile(join(parentPath, name))), name);
  }
  expect(files.length).toBeGreaterThanOrEqual(new Set(said.flatMap(({ chunks }) => chunks)).size);
  expect(await verify({ repository, deep: true })).toMatchObject({ problems: [] });
}, 120_000);

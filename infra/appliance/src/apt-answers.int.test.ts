import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { showPackages } from './apt-answers.ts';
import { buildAppliance } from './build.ts';

let folder: string;
beforeEach(async () => {
  // A machine whose apt has no lists yet gets them for this.
  await buildAppliance();
  folder = await mkdtemp(join(tmpdir(), 'apt-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

test('an answer is kept while what it depends on is the same, and asked for again when it is not', async () => {
  const names = ['nbdkit', 'lua5.3'];
  const asked = await showPackages(names, folder);
  expect(asked.map((one) => one.Package).filter((name) => name !== undefined)).toEqual(names);
  expect(asked[0]?.SHA256).toMatch(/^[0-9a-f]{64}$/);

  const file = join(folder, 'apt-answers.json');
  const kept = JSON.parse(await readFile(file, 'utf8'));
  const [question = ''] = Object.keys(kept.answers);
  const other = [{ Package: 'nbdkit', Version: '0' }];
  const put = (sources: string) =>
    writeFile(file, JSON.stringify({ sources, answers: { [question]: other } }));
  await put(kept.sources);
  expect(await showPackages(names, folder)).toEqual(other);
  await put('of another day');
  expect(await showPackages(names, folder)).toEqual(asked);
  await writeFile(file, '{');
  expect(await showPackages(names, folder)).toEqual(asked);
});

test('a package that nobody has is not kept', async () => {
  await expect(showPackages(['no-such-package'], folder)).rejects.toThrow('no-such-package');
  await expect(readFile(join(folder, 'apt-answers.json'))).rejects.toThrow();
});

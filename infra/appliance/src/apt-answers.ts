/**
 * What apt's lists say of packages. To ask takes seconds, of which every test and every `up` would have some, so the answer is kept beside
 * the packages for as long as the lists, the sources and what is installed are the same.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { run } from './run.ts';

/** What an answer depends on. */
const SOURCES = ['/var/lib/apt/lists', '/etc/apt', '/var/lib/dpkg/status'];
const KEPT = 'apt-answers.json';
const FIELDS = ['Package', 'Version', 'SHA256', 'Depends'];

type Fields = Record<string, string>;
const Kept = z.object({
  sources: z.string(),
  answers: z.record(z.string(), z.array(z.record(z.string(), z.string()))),
});

/** Fields of the newest version of each. Throws what apt says when it knows one of them not. */
export async function showPackages(names: readonly string[], folder: string): Promise<Fields[]> {
  const sources = await stateOfSources();
  const question = names.join(' ');
  const kept = await readKept(folder);
  const answers = kept?.sources === sources ? kept.answers : {};
  const known = answers[question];
  if (known !== undefined) return known;
  const text = await run('apt-cache', ['show', '--no-all-versions', ...names]);
  const answer = text.split('\n\n').map(fieldsOf);
  await keep(folder, { sources, answers: { ...answers, [question]: answer } });
  return answer;
}

function fieldsOf(paragraph: string): Fields {
  const all = [...paragraph.matchAll(/^(\S+): (.*)$/gm)].map(
    ([, key = '', value = '']) => [key, value] as const,
  );
  return Object.fromEntries(all.filter(([key]) => FIELDS.includes(key)));
}

async function stateOfSources(): Promise<string> {
  const seen: string[] = [];
  for (const source of SOURCES) {
    const names = await readdir(source, { recursive: true }).catch(() => []);
    for (const path of [source, ...names.map((name) => join(source, name))].sort()) {
      const found = await stat(path).catch(() => undefined);
      if (found?.isFile() === true) seen.push(`${path} ${found.size} ${found.mtimeMs}`);
    }
  }
  return createHash('sha256').update(seen.join('\n')).digest('hex');
}

/** Undefined where there is none that can be understood. */
async function readKept(folder: string): Promise<z.infer<typeof Kept> | undefined> {
  try {
    return Kept.parse(JSON.parse(await readFile(join(folder, KEPT), 'utf8')));
  } catch {
    return undefined;
  }
}

/** Of two that keep something at once one is kept: the other asks again. */
async function keep(folder: string, kept: z.infer<typeof Kept>): Promise<void> {
  await mkdir(folder, { recursive: true });
  const beside = join(folder, `${KEPT}.${process.pid}`);
  try {
    await writeFile(beside, JSON.stringify(kept));
    await rename(beside, join(folder, KEPT));
  } finally {
    await rm(beside, { force: true });
  }
}

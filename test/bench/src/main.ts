/**
 * `npm run bench [-- --only backup,nbd] [--json FILE]`: every benchmark, each beside its peers in the same run. Prints a figure a
 * line under a stable key; `--json` writes them all to a file. Ratios say more than times: machines differ, and so do their hours.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

const suites: Record<string, () => Promise<{ run(): Promise<Record<string, number>> }>> = {
  'event-store': () => import('./event-store.ts'),
  nbd: () => import('./nbd.ts'),
  repository: () => import('./repository.ts'),
  backup: () => import('./backup.ts'),
  burst: () => import('./burst.ts'),
};

const { values } = parseArgs({ options: { only: { type: 'string' }, json: { type: 'string' } } });
const wanted = values.only?.split(',') ?? Object.keys(suites);
const unknown = wanted.filter((name) => !(name in suites));
if (unknown.length > 0) {
  console.error(`No benchmark is called ${unknown.join(', ')}; there are ${Object.keys(suites).join(', ')}`);
  process.exit(2);
}

const figures: Record<string, number> = {};
for (const name of wanted) {
  console.log(`\n${name}`);
  const suite = await suites[name]?.();
  const found = (await suite?.run()) ?? {};
  for (const [key, value] of Object.entries(found))
    console.log(`  ${key.padEnd(48)} ${Number(value.toPrecision(4))}`);
  Object.assign(figures, found);
}
if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(figures, null, 2)}\n`);

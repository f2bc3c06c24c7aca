/**
 * `npm run bench [-- NAME...] [--json FILE]`: the benchmarks named, or all, each beside its peers in the same run. Prints a figure
 * a line under a stable key as soon as it is known; FILE holds all that are known, at any moment. A benchmark that fails is told
 * at the end, and the others run all the same. Ratios say more than times: machines differ, and so do their hours.
 * BACKHAUL_BENCH_ROUNDS and BACKHAUL_BENCH_DISK_MIB make the long ones shorter, for whoever tries them.
 */
import { parseArgs } from 'node:util';
import { describeError } from '@backhaul/kernel';
import { type Figures, type Note, noteTo } from './figures.ts';

/** What a suite did not note on its way it answers. */
type Suite = () => Promise<{ run(note: Note): Promise<Figures | undefined> }>;

const suites: Record<string, Suite> = {
  'event-store': () => import('./event-store.ts'),
  nbd: () => import('./nbd.ts'),
  repository: () => import('./repository.ts'),
  mount: () => import('./mount.ts'),
  backup: () => import('./backup.ts'),
  recovery: () => import('./recovery.ts'),
  instant: () => import('./instant.ts'),
  proxies: () => import('./proxies.ts'),
  virtnbdbackup: () => import('./virtnbdbackup.ts'),
  burst: () => import('./burst.ts'),
  pool: () => import('./pool-decisions.ts'),
  simulate: () => import('./simulation.ts'),
};

const { values, positionals } = parseArgs({
  options: { only: { type: 'string' }, json: { type: 'string' } },
  allowPositionals: true,
});
const named = [...positionals, ...(values.only?.split(',') ?? [])];
const unknown = named.filter((name) => !(name in suites));
if (unknown.length > 0) {
  console.error(`No benchmark is called ${unknown.join(', ')}; there are ${Object.keys(suites).join(', ')}`);
  process.exit(2);
}

const note = noteTo(values.json);
const failed: string[] = [];
for (const [name, load] of Object.entries(suites)) {
  if (named.length > 0 && !named.includes(name)) continue;
  console.log(`\n${name}`);
  try {
    const rest = await (await load()).run(note);
    if (rest !== undefined) note(rest);
  } catch (error) {
    failed.push(`${name}: ${describeError(error)}`);
    console.error(`  FAILED: ${describeError(error)}`);
  }
}
for (const failure of failed) console.error(`\nFAILED ${failure}`);
process.exitCode = failed.length === 0 ? 0 : 1;

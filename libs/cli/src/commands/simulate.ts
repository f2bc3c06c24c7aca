/**
 * `backhaul simulate`: what policies would do with a described fleet, side by side, before anything is changed. Needs no service: the planner and
 * the pool that decide in production decide here on a virtual clock (libs/simulation).
 */
import { readFile, writeFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { describeError } from '@backhaul/kernel';
import { type Comparison, measures, readFleet, reportPage, simulate as steps } from '@backhaul/simulation';
import { parse, YAMLParseError } from 'yaml';
import type { CommandContext } from '../command.ts';
import { failed, refused, usage } from '../exit.ts';
import { table } from '../table.ts';
import { json } from '../terminal.ts';

export interface SimulateFlags {
  readonly policy?: string[];
  readonly seed: number;
  readonly hours: number;
  readonly html?: string;
  readonly json?: string;
}

/** Between two lines that say how far it is. */
const PROGRESS_MILLISECONDS = 5_000;

export async function simulate(
  path: string,
  { policy, seed, hours, html, json: jsonPath }: SimulateFlags,
  { terminal, signal }: CommandContext,
): Promise<void> {
  const fleet = readFleet(await readDescription(path));
  if (!fleet.ok) throw refused(fleet.refusal);
  const options = { seed, hours, ...(policy === undefined ? {} : { policies: policy }) };
  const simulation = steps(fleet.value, options);
  for (let toldAt = Date.now(); ; ) {
    const step = simulation.next();
    if (step.done === true) {
      if (!step.value.ok) throw refused(step.value.refusal);
      for (const line of sideBySide(step.value.value)) terminal.out(line);
      if (jsonPath !== undefined) await write(jsonPath, `${json(step.value.value)}\n`);
      if (html !== undefined) await write(html, reportPage(step.value.value));
      return;
    }
    if (Date.now() - toldAt < PROGRESS_MILLISECONDS) continue;
    toldAt = Date.now();
    const { hostsDone, hosts } = step.value;
    terminal.note(`policy ${step.value.policy}: ${hostsDone} of ${hosts} hosts are simulated`);
    // A simulation only calculates: without this nobody would hear that Ctrl-C was pressed.
    await setImmediate();
    if (signal.aborted) throw failed('The simulation was interrupted.');
  }
}

/** YAML, of which JSON is a part. */
async function readDescription(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw usage(`The fleet cannot be read from ${path}: ${describeError(error)}`);
  });
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    throw usage(`${path} is neither YAML nor JSON: ${error.message}`);
  }
}

async function write(path: string, text: string): Promise<void> {
  await writeFile(path, text).catch((error: unknown) => {
    throw failed(`${path} cannot be written: ${describeError(error)}`);
  });
}

function sideBySide({ vms, hosts, hours, seed, outcomes }: Comparison): string[] {
  const columns = [
    { title: '', value: ({ title }: (typeof measures)[number]) => title },
    ...outcomes.map((outcome) => ({
      title: outcome.policy,
      value: ({ text }: (typeof measures)[number]) => text(outcome),
      right: true,
    })),
  ];
  const reasons = outcomes.flatMap(({ policy, reasons: found }) =>
    found.map(({ reason, count }) => `${policy}: ${count} times: ${reason}`),
  );
  return [
    `${vms} VMs on ${hosts} hosts over ${hours} hours, seed ${seed}`,
    '',
    ...table(columns, measures),
    ...(reasons.length === 0 ? [] : ['', 'Why backups failed or were refused:', ...reasons]),
  ];
}

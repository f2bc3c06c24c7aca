/**
 * `backhaul simulate`: what policies would do with a described fleet, or would have done with what a log has recorded, side by side, before anything
 * is changed. Needs no service: the planner and the pool that decide in production decide here on a virtual clock (libs/simulation).
 */
import { readFile, writeFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { liftRecord } from '@backhaul/contracts';
import { readLogFile } from '@backhaul/event-store';
import { describeError, type Result } from '@backhaul/kernel';
import {
  type Comparison,
  describedSource,
  History,
  measures,
  readFleet,
  readQuestion,
  reportPage,
  type Source,
  simulate as steps,
} from '@backhaul/simulation';
import { parse, YAMLParseError } from 'yaml';
import type { CommandContext } from '../command.ts';
import { failed, refused, usage } from '../exit.ts';
import { table } from '../table.ts';
import { json } from '../terminal.ts';

export interface SimulateFlags {
  readonly history?: string;
  readonly policy?: string[];
  readonly seed: number;
  readonly hours?: number;
  readonly html?: string;
  readonly json?: string;
}

const HOURS = 24;
/** Between two lines that say how far it is. */
const PROGRESS_MILLISECONDS = 5_000;

export async function simulate(
  path: string | undefined,
  flags: SimulateFlags,
  { terminal, signal }: CommandContext,
): Promise<void> {
  const { seed, html, json: jsonPath } = flags;
  const source = await sourceOf(path, flags);
  if (!source.ok) throw refused(source.refusal);
  const simulation = steps(source.value, seed);
  for (let toldAt = Date.now(); ; ) {
    const step = simulation.next();
    if (step.done === true) {
      for (const line of sideBySide(step.value)) terminal.out(line);
      if (jsonPath !== undefined) await write(jsonPath, `${json(step.value)}\n`);
      if (html !== undefined) await write(html, reportPage(step.value));
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

async function sourceOf(path: string | undefined, flags: SimulateFlags): Promise<Result<Source>> {
  const { history, policy: policies, seed, hours } = flags;
  if (history === undefined) {
    if (path === undefined)
      throw usage('Name a file that describes a fleet, or a recorded log with --history.');
    const fleet = readFleet(await readDescription(path));
    return fleet.ok ? describedSource(fleet.value, { seed, hours: hours ?? HOURS, policies }) : fleet;
  }
  if (hours !== undefined) throw usage('--hours is for a described fleet: a history has the hours it has.');
  const question = readQuestion(path === undefined ? {} : await readDescription(path));
  if (!question.ok) return question;
  const past = new History();
  for await (const record of readLogFile(history)) {
    const event = liftRecord(record);
    if (event !== undefined) past.take(event);
  }
  return past.source(question.value, { policies });
}

/** YAML, of which JSON is a part. */
async function readDescription(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw usage(`${path} cannot be read: ${describeError(error)}`);
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

function sideBySide({ vms, hosts, hours, seed, notes, outcomes }: Comparison): string[] {
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
    `${vms} VMs on ${hosts} hosts over ${Number(hours.toFixed(1))} hours, seed ${seed}`,
    ...notes,
    '',
    ...table(columns, measures),
    ...(reasons.length === 0 ? [] : ['', 'Why backups failed or were refused:', ...reasons]),
  ];
}

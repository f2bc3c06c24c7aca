/**
 * `backhaul replay`: derives again, with the code of today, what a log says was planned and decided. The log comes straight from
 * Postgres, or from a file that was exported from one.
 */
import type { StoredRecord } from '@backhaul/contracts';
import { readLogFile, storedLog, writeLogFile } from '@backhaul/event-store';
import { LogCheck, reportJson, reportLines } from '@backhaul/replay';
import type { CommandContext } from '../command.ts';
import { failed } from '../exit.ts';
import { json } from '../terminal.ts';
import { type LogFlags, withLog } from './log.ts';
import { replayShadow, type ShadowFlags } from './replay-shadow.ts';

export interface ReplayFlags extends LogFlags, Omit<ShadowFlags, 'shadow'> {
  readonly shadow?: readonly string[];
  readonly check?: boolean;
  readonly fromFile?: string;
  readonly export?: string;
}

/** Millions in a large run, and nothing is decided on them. */
const CHUNKS = ['ChunkReceived', 'ChunkExported'];

export async function replay(flags: ReplayFlags, context: CommandContext): Promise<void> {
  const { terminal } = context;
  await withRecords(flags, context, async (records) => {
    if (flags.export !== undefined) {
      const written = await writeLogFile(flags.export, records);
      terminal.note(`${written} events written to ${flags.export}.`);
      return;
    }
    if (flags.shadow !== undefined) {
      await replayShadow(records, { ...flags, shadow: flags.shadow }, terminal);
      return;
    }
    const check = new LogCheck();
    for await (const record of records) check.take(record);
    const report = check.report();
    if (flags.json === true) terminal.out(json(reportJson(report)));
    else for (const line of reportLines(report)) terminal.out(line);
    const [first] = report.differences;
    if (first !== undefined)
      throw failed(
        `What is recorded is not what is derived: ${first.what} (stream ${first.stream}, version ${first.version}, position ${first.position}).`,
      );
  });
}

async function withRecords(
  flags: ReplayFlags,
  context: CommandContext,
  work: (records: AsyncIterable<StoredRecord>) => Promise<void>,
): Promise<void> {
  if (flags.fromFile !== undefined) await work(readLogFile(flags.fromFile));
  else
    await withLog(flags, context, (store) =>
      work(storedLog(store, { except: CHUNKS, signal: context.signal })),
    );
}

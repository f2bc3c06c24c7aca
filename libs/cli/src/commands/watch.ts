/** A run that was asked for, shown until its end: a bar where a person watches, a line for every new phase where nobody does. */
import type { BackhaulClient } from '@backhaul/client';
import type { consoleApi } from '@backhaul/contracts';
import { eventually, type Refusal } from '@backhaul/kernel';
import type { CommandContext } from '../command.ts';
import { CommandFailure, exitCodes } from '../exit.ts';
import { noBar, progressBar } from '../progress-bar.ts';
import { shortId } from '../table.ts';

const BEHIND_MILLISECONDS_MAX = 15_000;

export interface Watched<Progress> {
  readonly noun: 'backup' | 'recovery';
  readonly runId: string;
  readonly initial: Progress;
  after(progress: Progress, event: consoleApi.RecordedEvent): Progress;
  /** `jobs`: how many of how many are done, for whoever watches; empty while there are none. */
  show(progress: Progress): { done: number; total: number; phase: string; jobs: string };
  isOver(progress: Progress): boolean;
}

export async function watch<Progress>(
  client: BackhaulClient,
  { noun, runId, initial, after, show, isOver }: Watched<Progress>,
  flags: { readonly json?: boolean },
  { terminal, signal }: CommandContext,
): Promise<Progress> {
  const bar = flags.json === true ? noBar : progressBar(terminal);
  let progress = initial;
  const of = noun === 'backup' ? { backupId: runId } : { recoveryId: runId };
  try {
    for await (const event of client.follow({ ...of, after: 0, signal })) {
      progress = after(progress, event);
      const { phase, jobs, ...bytes } = show(progress);
      bar.update({ ...bytes, phase: terminal.isWatched ? `${phase}${jobs}` : phase });
      if (isOver(progress)) return progress;
    }
  } finally {
    bar.stop();
  }
  throw new CommandFailure(
    exitCodes.failed,
    `Stopped watching; ${noun} ${runId} goes on. Follow it with: backhaul events ${shortId(runId)}`,
  );
}

/**
 * For `--json`: the row of the console, once it knows of the end; where its tables are too far behind, what the events that were followed say
 * of it, under the same names. The run has ended either way.
 */
export async function ended<Row extends { endedAt: string | null }, Told>(
  what: string,
  read: () => Promise<Row>,
  told: Told,
  { terminal }: CommandContext,
): Promise<Row | Told> {
  const known = async (): Promise<Row | undefined> => {
    const row = await read().catch(() => undefined);
    return row?.endedAt == null ? undefined : row;
  };
  try {
    return await eventually(`The console knowing of the end of ${what}`, BEHIND_MILLISECONDS_MAX, known);
  } catch {
    terminal.note(
      `The tables of the console are behind: what its events say of ${what} is told, and no more.`,
    );
    return told;
  }
}

/** In the words of the console's rows. */
export function endOf({ end }: { readonly end: RunEnd | undefined }): object {
  if (end === undefined) return {};
  const { outcome: state } = end;
  return state === 'completed' ? { state, ...end.totals, refusal: null } : { state, refusal: end.refusal };
}

type RunEnd =
  | { readonly outcome: 'completed'; readonly totals: object }
  | { readonly outcome: 'failed' | 'refused' | 'cancelled'; readonly refusal: Refusal };

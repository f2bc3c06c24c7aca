/** `backhaul backup`: asks for a backup, and with `--wait` shows it until its end. */
import { randomUUID } from 'node:crypto';
import type { BackhaulClient } from '@backhaul/client';
import { eventually, formatBytes, refusalLine } from '@backhaul/kernel';
import type { CommandContext } from '../command.ts';
import { CommandFailure, exitCodes, refused, usage } from '../exit.ts';
import { noProgress, type Progress, progressAfter } from '../progress.ts';
import { noBar, progressBar } from '../progress-bar.ts';
import { duration, shortId } from '../table.ts';
import { json } from '../terminal.ts';

export interface BackupFlags {
  readonly host?: string;
  readonly full?: boolean;
  readonly incremental?: boolean;
  readonly mode?: 'auto' | 'proxy-vm' | 'direct-to-host';
  readonly policy?: string;
  readonly requestId?: string;
  readonly wait?: boolean;
  readonly json?: boolean;
}

export async function backup(vm: string, flags: BackupFlags, context: CommandContext): Promise<void> {
  if (flags.full === true && flags.incremental === true) {
    throw usage(
      '--full and --incremental exclude each other. Give one, or none: then an incremental is made where it can be.',
    );
  }
  const client = await context.locations.requester();
  const began = Date.now();
  const answer = await client.requestBackup({
    requestId: flags.requestId ?? randomUUID(),
    host: flags.host ?? (await onlyHost(client)),
    vm,
    kind: flags.full === true ? 'full' : flags.incremental === true ? 'incremental' : 'auto',
    mode: flags.mode ?? 'auto',
    ...(flags.policy === undefined ? {} : { policy: flags.policy }),
    requestedBy: `cli ${context.environment.USER ?? ''}`.trim(),
  });
  if (!answer.ok) throw refused(answer.refusal);
  const { backupId } = answer.value;
  if (backupId === undefined)
    throw new CommandFailure(exitCodes.failed, 'The trigger accepted the request and named no backup.');
  if (flags.wait !== true) {
    context.terminal.out(flags.json === true ? json(answer.value) : accepted(backupId));
    return;
  }
  if (flags.json !== true) context.terminal.note(`Backup ${backupId} of VM ${vm}`);
  const progress = await watch(client, backupId, flags, context);
  if (flags.json === true) context.terminal.out(json(await ended(client, backupId)));
  report(progress, backupId, Date.now() - began, flags, context);
}

const accepted = (backupId: string): string =>
  `Backup ${backupId} is accepted. Follow it with: backhaul events ${shortId(backupId)}`;

/** Most deployments have one host: then nobody has to name it. */
async function onlyHost(client: BackhaulClient): Promise<string> {
  const { items } = await client.page('hosts', { limit: 20 });
  const [host, ...others] = items;
  if (host !== undefined && others.length === 0) return host.hostId;
  const known = items.map((each) => each.hostId).join(', ');
  throw usage(
    items.length === 0
      ? 'Which host? None has registered yet. Name one with --host.'
      : `Which host? Name one with --host: ${known}.`,
  );
}

async function watch(
  client: BackhaulClient,
  backupId: string,
  flags: BackupFlags,
  { terminal, signal }: CommandContext,
): Promise<Progress> {
  const bar = flags.json === true ? noBar : progressBar(terminal);
  let progress = noProgress;
  try {
    for await (const event of client.follow({ backupId, after: 0, signal })) {
      progress = progressAfter(progress, event);
      const { readBytes, bytesToRead, phase, childJobs, childJobsDone } = progress;
      const jobs = childJobs === 0 ? '' : `, ${childJobsDone} of ${childJobs} child jobs done`;
      bar.update({
        done: readBytes,
        total: bytesToRead,
        phase: terminal.isWatched ? `${phase}${jobs}` : phase,
      });
      if (progress.end !== undefined) return progress;
    }
  } finally {
    bar.stop();
  }
  throw new CommandFailure(
    exitCodes.failed,
    `Stopped watching; backup ${backupId} goes on. Follow it with: backhaul events ${shortId(backupId)}`,
  );
}

/** The row of the console, once it knows of the end. */
const ended = (client: BackhaulClient, backupId: string) =>
  eventually(`The console knowing of the end of backup ${backupId}`, 15_000, async () => {
    const row = await client.backup(backupId);
    return row.endedAt === null ? undefined : row;
  });

function report(
  { end }: Progress,
  backupId: string,
  milliseconds: number,
  flags: BackupFlags,
  { terminal }: CommandContext,
): void {
  if (end === undefined) return;
  if (end.outcome !== 'completed') {
    const exitCode = end.outcome === 'refused' ? exitCodes.refused : exitCodes.failed;
    throw new CommandFailure(exitCode, `Backup ${backupId} was not made: ${refusalLine(end.refusal)}`);
  }
  if (flags.json === true) return;
  const { readBytes, diskBytes, storedBytes, chunks, newChunks } = end.totals;
  terminal.out(
    `Backup ${backupId} completed in ${duration(milliseconds)}: ${formatBytes(readBytes)} read of ${formatBytes(diskBytes)} ` +
      `(${formatBytes((readBytes / Math.max(1, milliseconds)) * 1000)}/s), ${newChunks} of ${chunks} chunks new, ${formatBytes(storedBytes)} stored.`,
  );
}

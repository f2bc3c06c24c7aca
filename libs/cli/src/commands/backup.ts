/** `backhaul backup`: asks for a backup, and with `--wait` shows it until its end. */
import { randomUUID } from 'node:crypto';
import type { Priority } from '@backhaul/contracts';
import { formatBytes, refusalLine } from '@backhaul/kernel';
import type { CommandContext } from '../command.ts';
import { CommandFailure, exitCodes, refused, usage } from '../exit.ts';
import { noProgress, type Progress, progressAfter } from '../progress.ts';
import { duration, shortId } from '../table.ts';
import { json } from '../terminal.ts';
import { onlyHost } from './only-host.ts';
import { ended, endOf, type Watched, watch } from './watch.ts';

export interface BackupFlags {
  readonly host?: string;
  readonly full?: boolean;
  readonly incremental?: boolean;
  readonly mode?: 'auto' | 'proxy-vm' | 'direct-to-host';
  readonly policy?: string;
  readonly priority?: Priority;
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
    ...(flags.priority === undefined ? {} : { priority: flags.priority }),
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
  const progress = await watch(client, watched(backupId), flags, context);
  if (flags.json === true) {
    const told = { backupId, ...endOf(progress) };
    const row = await ended(`backup ${backupId}`, () => client.backup(backupId), told, context);
    context.terminal.out(json(row));
  }
  report(progress, backupId, Date.now() - began, flags, context);
}

const accepted = (backupId: string): string =>
  `Backup ${backupId} is accepted. Follow it with: backhaul events ${shortId(backupId)}`;

const watched = (runId: string): Watched<Progress> => ({
  noun: 'backup',
  runId,
  initial: noProgress,
  after: progressAfter,
  show: ({ readBytes, bytesToRead, phase, childJobs, childJobsDone }) => ({
    done: readBytes,
    total: bytesToRead,
    phase,
    jobs: childJobs === 0 ? '' : `, ${childJobsDone} of ${childJobs} child jobs done`,
  }),
  isOver: ({ end }) => end !== undefined,
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

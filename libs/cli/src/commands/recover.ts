/** `backhaul recover`: asks for a VM to be made of a restore point, and with `--wait` shows it until the VM stands. */
import { randomUUID } from 'node:crypto';
import { accelerationWords, type Priority } from '@backhaul/contracts';
import { formatBytes, parseBytes, refusalLine } from '@backhaul/kernel';
import type { CommandContext } from '../command.ts';
import { CommandFailure, exitCodes, failed, refused, usage } from '../exit.ts';
import { noRecoveryProgress, type RecoveryProgress, recoveryProgressAfter } from '../recovery-progress.ts';
import { duration, shortId } from '../table.ts';
import { json } from '../terminal.ts';
import { findBackup } from './find-backup.ts';
import { onlyHost } from './only-host.ts';
import { ended, endOf, type Watched, watch } from './watch.ts';

export interface RecoverFlags {
  readonly host?: string;
  readonly name?: string;
  readonly disk?: readonly string[];
  readonly mode?: 'auto' | 'proxy-vm' | 'direct-to-host';
  readonly policy?: string;
  readonly priority?: Priority;
  readonly replace?: boolean;
  readonly start?: boolean;
  readonly verify?: boolean;
  readonly instant?: boolean;
  readonly fillSpeed?: string;
  readonly memory?: number;
  readonly cpus?: number;
  readonly requestId?: string;
  readonly wait?: boolean;
  readonly json?: boolean;
}

export async function recover(id: string, flags: RecoverFlags, context: CommandContext): Promise<void> {
  const { disk = [], mode, policy, memory, cpus } = flags;
  const client = await context.locations.requester();
  const source = await findBackup(client, id);
  const host = flags.host ?? (await onlyHost(client));
  const name = flags.name ?? source.vmId;
  const began = Date.now();
  const answer = await client.requestRecovery({
    requestId: flags.requestId ?? randomUUID(),
    backup: source.backupId,
    host,
    vm: name,
    ...(disk.length === 0 ? {} : { disks: [...disk] }),
    mode: mode ?? 'auto',
    ...(policy === undefined ? {} : { policy }),
    ...(flags.priority === undefined ? {} : { priority: flags.priority }),
    replace: flags.replace === true,
    start: flags.start === true,
    verify: flags.verify === true,
    ...fillOf(flags),
    machine: {
      ...(memory === undefined ? {} : { memoryMiB: memory }),
      ...(cpus === undefined ? {} : { cpus }),
    },
    requestedBy: `cli ${context.environment.USER ?? ''}`.trim(),
  });
  if (!answer.ok) throw refused(answer.refusal);
  const { recoveryId } = answer.value;
  if (recoveryId === undefined) throw failed('The trigger accepted the request and named no recovery.');
  if (flags.wait !== true) {
    const follow = `Recovery ${recoveryId} is accepted. Follow it with: backhaul events ${shortId(recoveryId)}`;
    context.terminal.out(flags.json === true ? json(answer.value) : follow);
    return;
  }
  if (flags.json !== true)
    context.terminal.note(
      `Recovery ${recoveryId} of backup ${source.backupId} as VM ${name} on host ${host}`,
    );
  const progress = await watch(client, watched(recoveryId), flags, context);
  if (flags.json === true) {
    const told = { recoveryId, ...endOf(progress) };
    const row = await ended(`recovery ${recoveryId}`, () => client.recovery(recoveryId), told, context);
    context.terminal.out(json(row));
  }
  report(progress, { recoveryId, host, name }, Date.now() - began, flags, context);
}

function fillOf({ instant, fillSpeed }: RecoverFlags): { instant: boolean; fillBytesPerSecond?: number } {
  if (fillSpeed === undefined) return { instant: instant === true };
  if (instant !== true) throw usage('--fill-speed is for --instant.');
  const fillBytesPerSecond = parseBytes(fillSpeed);
  if (fillBytesPerSecond === undefined || fillBytesPerSecond === 0)
    throw usage(`"${fillSpeed}" is no speed. Give one such as 100MiB with --fill-speed.`);
  return { instant, fillBytesPerSecond };
}

const watched = (runId: string): Watched<RecoveryProgress> => ({
  noun: 'recovery',
  runId,
  initial: noRecoveryProgress,
  after: recoveryProgressAfter,
  show: ({ writtenBytes, bytesToWrite, phase, streams, streamsDone }) => ({
    done: writtenBytes,
    total: bytesToWrite,
    phase,
    jobs: streams === 0 ? '' : `, ${streamsDone} of ${streams} data streams done`,
  }),
  isOver: ({ end }) => end !== undefined,
});

function report(
  { end, acceleration }: RecoveryProgress,
  { recoveryId, host, name }: { recoveryId: string; host: string; name: string },
  milliseconds: number,
  flags: RecoverFlags,
  { terminal }: CommandContext,
): void {
  if (end === undefined) return;
  if (end.outcome !== 'completed') {
    const { refusal, alternative } = end;
    const instead =
      alternative === null
        ? ''
        : ` The newest older restore point that is whole is of ${alternative.takenAt}: ${commandLine(alternative.backupId, host, name, flags)}`;
    throw new CommandFailure(
      end.outcome === 'refused' ? exitCodes.refused : exitCodes.failed,
      `Recovery ${recoveryId} made no VM: ${refusalLine(refusal)}${instead}`,
    );
  }
  const { writtenBytes, diskBytes, zeroBytes, verifiedBytes } = end.totals;
  const how = acceleration === undefined ? '' : ` ${accelerationWords(acceleration)}`;
  const runs = end.started ? ` and runs${how}` : '';
  if (flags.json !== true) {
    terminal.out(
      `Recovery ${recoveryId} completed in ${duration(milliseconds)}: ${formatBytes(writtenBytes)} written of ${formatBytes(diskBytes)} ` +
        `(${formatBytes((writtenBytes / Math.max(1, milliseconds)) * 1000)}/s), ${formatBytes(zeroBytes)} left as holes, ` +
        `${formatBytes(verifiedBytes)} read back and compared. VM ${name} stands on host ${host}${runs}.`,
    );
  }
  // It is whole, and whoever asked for a running VM has none.
  if (flags.start === true && !end.started)
    throw failed(
      `VM ${name} stands on host ${host}, and was not started: ${end.notStarted ?? 'nobody said why'}.`,
    );
}

/** The same wish, of another restore point. */
export function commandLine(backupId: string, host: string, name: string, flags: RecoverFlags): string {
  const { disk = [], mode, policy, memory, cpus } = flags;
  const valued = { host, name, mode, policy, memory, cpus, 'fill-speed': flags.fillSpeed };
  return [
    `backhaul recover ${shortId(backupId)}`,
    ...Object.entries(valued).flatMap(([flag, value]) => (value === undefined ? [] : [`--${flag} ${value}`])),
    ...disk.map((diskId) => `--disk ${diskId}`),
    ...(['replace', 'start', 'instant', 'verify', 'wait'] as const).flatMap((flag) =>
      flags[flag] === true ? [`--${flag}`] : [],
    ),
  ].join(' ');
}

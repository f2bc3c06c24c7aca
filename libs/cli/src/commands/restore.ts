/**
 * `backhaul restore`: disks of a restore point into raw files, straight from the repository: no service is needed. Without a backup it
 * tells which there are.
 */
import { formatBytes } from '@backhaul/kernel';
import { type Manifest, openRepository, type Repository, restoreDisk } from '@backhaul/repository';
import type { CommandContext } from '../command.ts';
import { targetsOf } from '../disk-targets.ts';
import { usage } from '../exit.ts';
import { noBar, progressBar } from '../progress-bar.ts';
import { findManifest, showRestorePoints } from '../restore-points.ts';
import { duration, shortId } from '../table.ts';
import { json } from '../terminal.ts';

export interface RestoreFlags {
  readonly to?: string;
  readonly disk?: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

export async function restore(
  id: string | undefined,
  flags: RestoreFlags,
  context: CommandContext,
): Promise<void> {
  const { to } = flags;
  if (id !== undefined && to === undefined)
    throw usage('Where to? Give a file for one disk, or a folder, with --to.');
  const repository = await openRepository({ location: await context.locations.repository(), create: false });
  try {
    if (id === undefined || to === undefined) {
      await showRestorePoints(repository, flags, context.terminal);
      return;
    }
    const manifest = await findManifest(repository, id, context.terminal.note);
    const targets = await targetsOf(manifest, to, flags.disk);
    const restored = [];
    for (const { diskId, target } of targets) {
      restored.push(await restoreOne(repository, manifest, diskId, target, flags, context));
    }
    if (flags.json === true) context.terminal.out(json({ backupId: manifest.backupId, disks: restored }));
  } finally {
    await repository.close();
  }
}

async function restoreOne(
  repository: Repository,
  manifest: Manifest,
  diskId: string,
  target: string,
  flags: RestoreFlags,
  { terminal, signal }: CommandContext,
): Promise<{ diskId: string; target: string; sizeBytes: number; writtenBytes: number }> {
  const bar = flags.json === true ? noBar : progressBar(terminal);
  const began = Date.now();
  try {
    const { sizeBytes, writtenBytes } = await restoreDisk({
      repository,
      manifest,
      diskId,
      target,
      overwrite: flags.overwrite === true,
      signal,
      onProgress: ({ doneBytes, totalBytes }) =>
        bar.update({ done: doneBytes, total: totalBytes, phase: `restoring ${diskId}` }),
    }).catch((error: unknown) => {
      if (hasCode(error, 'EEXIST'))
        throw usage(`${target} exists. Give another --to, or --overwrite to replace it.`);
      throw error;
    });
    bar.stop();
    if (flags.json !== true) {
      const { backupId, takenAt } = manifest;
      terminal.out(
        `Disk ${diskId} of backup ${shortId(backupId)} (as of ${takenAt}) is at ${target}: ${formatBytes(sizeBytes)}, ` +
          `${formatBytes(writtenBytes)} of it data, every chunk checked against its SHA-256, in ${duration(Date.now() - began)}.`,
      );
    }
    return { diskId, target, sizeBytes, writtenBytes };
  } finally {
    bar.stop();
  }
}

function hasCode(error: unknown, code: string): boolean {
  for (let current = error; current instanceof Error; current = current.cause) {
    if ((current as { code?: string }).code === code) return true;
  }
  return false;
}

/** `backhaul restore`: disks of a restore point into raw files, straight from the repository: no service is needed. */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes } from '@backhaul/kernel';
import { type Manifest, openRepository, type Repository, restoreDisk } from '@backhaul/repository';
import type { CommandContext } from '../command.ts';
import { failed, usage } from '../exit.ts';
import { noBar, progressBar } from '../progress-bar.ts';
import { duration, shortId } from '../table.ts';
import { json } from '../terminal.ts';

export interface RestoreFlags {
  readonly to: string;
  readonly disk?: string;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

export async function restore(id: string, flags: RestoreFlags, context: CommandContext): Promise<void> {
  const repository = await openRepository({ location: await context.locations.repository(), create: false });
  try {
    const manifest = await findManifest(repository, id);
    const targets = await targetsOf(manifest, flags);
    const restored = [];
    for (const { diskId, target } of targets) {
      restored.push(await restoreOne(repository, manifest, diskId, target, flags, context));
    }
    if (flags.json === true) context.terminal.out(json({ backupId: manifest.backupId, disks: restored }));
  } finally {
    await repository.close();
  }
}

/** By the whole id, or a beginning of it that no other restore point has. */
export async function findManifest(repository: Repository, id: string): Promise<Manifest> {
  const { manifests, damaged } = await repository.listManifests();
  const found = manifests.filter(({ manifest }) => manifest.backupId.startsWith(id.toLowerCase()));
  const [stored, ...others] = found;
  if (others.length > 0) {
    const ids = found.map(({ manifest }) => manifest.backupId).join(', ');
    throw usage(`${id} is the beginning of several restore points: ${ids}. Give more of the id.`);
  }
  if (stored !== undefined) return stored.manifest;
  const broken = damaged.find(({ file }) => file.includes(id));
  if (broken !== undefined) throw failed(`The manifest ${broken.file} is damaged: ${broken.reason}.`);
  throw failed(
    `There is no restore point ${id} in ${repository.location}. "backhaul verify" lists what is there; a backup that did not complete has none.`,
  );
}

async function targetsOf(
  manifest: Manifest,
  { to, disk }: RestoreFlags,
): Promise<{ diskId: string; target: string }[]> {
  const known = manifest.disks.map(({ diskId }) => diskId);
  if (disk !== undefined && !known.includes(disk)) {
    throw usage(`Backup ${manifest.backupId} has no disk ${disk}, only: ${known.join(', ')}.`);
  }
  const wanted = disk === undefined ? known : [disk];
  const isFolder = to.endsWith('/') || ((await stat(to).catch(() => undefined))?.isDirectory() ?? false);
  if (isFolder) {
    await mkdir(to, { recursive: true });
    return wanted.map((diskId) => ({ diskId, target: join(to, `${diskId}.raw`) }));
  }
  const [diskId, ...others] = wanted;
  if (diskId === undefined || others.length > 0) {
    throw usage(
      `Backup ${manifest.backupId} has ${wanted.length} disks (${wanted.join(', ')}), and ${to} is one file. Name one with --disk, or give a folder (with "/" at its end).`,
    );
  }
  return [{ diskId, target: to }];
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

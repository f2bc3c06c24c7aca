/**
 * `backhaul mount`: the disks of a restore point as NBD exports, straight from the repository: no service is needed, and nothing is copied
 * first. The repository is only read; what is written goes to an overlay, which ends with the mount unless it is to be kept.
 */
import { lstat, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { exportUri } from '@backhaul/contracts';
import { formatBytes, parseBytes } from '@backhaul/kernel';
import { type NbdExport, type ServeOptions, serveNbd } from '@backhaul/nbd';
import {
  ChunkCache,
  type Disk,
  type Manifest,
  type OverlayDisk,
  openOverlayDisk,
  openRepository,
  openRestorePointDisk,
  type Repository,
  saveDisk,
  type TakeMemory,
} from '@backhaul/repository';
import type { CommandContext } from '../command.ts';
import { type DiskTarget, disksOf, targetsOf } from '../disk-targets.ts';
import { usage } from '../exit.ts';
import { makeSocketFolder } from '../mount-socket.ts';
import { noBar, progressBar } from '../progress-bar.ts';
import { findManifest } from '../restore-points.ts';
import { shortId } from '../table.ts';
import { json, type Terminal } from '../terminal.ts';

export interface MountFlags {
  readonly disk?: string;
  readonly socket?: string;
  readonly port?: number;
  readonly address?: string;
  readonly writable?: boolean;
  readonly keep?: string;
  readonly cache?: string;
  readonly json?: boolean;
}

interface Mounted {
  readonly diskId: string;
  readonly disk: Disk | OverlayDisk;
}

export async function mount(id: string, flags: MountFlags, context: CommandContext): Promise<void> {
  const { terminal, signal } = context;
  const bytesMax = cacheBytes(flags);
  checkFlags(flags);
  await using ends = new AsyncDisposableStack();
  const repository = await openRepository({ location: await context.locations.repository(), create: false });
  ends.defer(() => repository.close());
  const manifest = await findManifest(repository, id, terminal.note);
  const wanted = disksOf(manifest, flags.disk);
  const kept = flags.keep === undefined ? [] : await keepTargets(manifest, flags.keep, flags.disk, terminal);

  const cache = new ChunkCache({ repository, ...(bytesMax === undefined ? {} : { bytesMax }) });
  const overlays =
    flags.writable === true ? dirname(resolve(kept[0]?.target ?? join(tmpdir(), 'x'))) : undefined;
  const mounted: Mounted[] = [];
  for (const diskId of wanted) mounted.push(await open(repository, manifest, diskId, cache, overlays, ends));

  const listen = await listenAt(flags, terminal, ends);
  const exports = mounted.map((each) => asExport(each, manifest));
  const server = await serveNbd({ exports, listen, log: terminal.note });
  ends.defer(() => server.close());
  tell(manifest, exports, server.uri, flags, terminal);
  if (!signal.aborted) await new Promise((wake) => signal.addEventListener('abort', wake, { once: true }));
  await server.close();
  for (const { diskId, target } of kept) await keep(mounted, diskId, target, flags, terminal);
}

function checkFlags({ socket, port, address, writable, keep: target }: MountFlags): void {
  if (socket !== undefined && port !== undefined) throw usage('--socket and --port exclude each other.');
  if (address !== undefined && port === undefined) throw usage('--address is for --port.');
  if (target !== undefined && writable !== true)
    throw usage('--keep is for what was written: give --writable, too.');
}

function cacheBytes({ cache }: MountFlags): number | undefined {
  if (cache === undefined) return undefined;
  const bytes = parseBytes(cache);
  if (bytes === undefined) throw usage(`"${cache}" is no size. Give one such as 512MiB with --cache.`);
  return bytes;
}

/** Known to be free before anything is written that is to be kept there. */
async function keepTargets(
  manifest: Manifest,
  to: string,
  disk: string | undefined,
  terminal: Terminal,
): Promise<DiskTarget[]> {
  const targets = await targetsOf(manifest, to, disk);
  for (const { target } of targets) {
    if ((await lstat(target).catch(() => undefined)) !== undefined)
      throw usage(`${target} exists. Give another --keep.`);
    const folder = dirname(resolve(target));
    const left = (await readdir(folder)).filter((name) => name.startsWith(`${basename(target)}.partial-`));
    for (const name of left) terminal.note(`${join(folder, name)} was left by a mount that was killed.`);
  }
  return targets;
}

async function open(
  repository: Repository,
  manifest: Manifest,
  diskId: string,
  cache: ChunkCache,
  overlayFolder: string | undefined,
  ends: AsyncDisposableStack,
): Promise<Mounted> {
  const disk = await openRestorePointDisk({ repository, manifest, diskId, cache });
  if (overlayFolder === undefined) return { diskId, disk };
  const overlay = await openOverlayDisk(disk, overlayFolder);
  ends.defer(() => overlay.close());
  return { diskId, disk: overlay };
}

async function listenAt(
  { socket, port, address }: MountFlags,
  terminal: Terminal,
  ends: AsyncDisposableStack,
): Promise<ServeOptions['listen']> {
  if (port !== undefined) return { kind: 'tcp', host: address ?? '127.0.0.1', port };
  if (socket !== undefined) return { kind: 'unix', socketPath: resolve(socket) };
  const { socketPath, remove } = await makeSocketFolder(terminal.note);
  ends.defer(remove);
  return { kind: 'unix', socketPath };
}

function asExport({ diskId, disk }: Mounted, { backupId, hostId, vmId, takenAt }: Manifest): NbdExport {
  const description = `disk ${diskId} of VM ${vmId} on ${hostId} as of ${takenAt}, backup ${backupId}`;
  const common = {
    ...{ name: diskId, description, sizeBytes: disk.sizeBytes },
    read: (offset: number, length: number, take: TakeMemory) => disk.read(offset, length, take),
    extents: (offset: number, length: number, runsMax: number) => disk.extents(offset, length, runsMax),
  };
  if (!('write' in disk)) return { ...common, readOnly: true };
  return {
    ...common,
    readOnly: false,
    write: (offset, data) => disk.write(offset, data),
    flush: () => disk.flush(),
    trim: (offset, length) => disk.trim(offset, length),
    writeZeroes: (offset, length) => disk.writeZeroes(offset, length),
    zeroesAreFast: true,
  };
}

function tell(
  { backupId, vmId, takenAt }: Manifest,
  exports: readonly NbdExport[],
  uri: string,
  flags: MountFlags,
  terminal: Terminal,
): void {
  const disks = exports.map(({ name, sizeBytes, readOnly }) => ({
    ...{ diskId: name, sizeBytes, readOnly, uri: exportUri(uri, name) },
  }));
  if (flags.json === true) {
    terminal.out(json({ backupId, vmId, takenAt, disks }));
    return;
  }
  for (const { diskId, sizeBytes, uri: diskUri } of disks)
    terminal.out(`${diskId} (${formatBytes(sizeBytes)}) ${diskUri}`);
  const end =
    flags.writable !== true
      ? 'Read-only'
      : flags.keep === undefined
        ? 'What is written is thrown away at the end'
        : `What is written is kept at the end, as ${flags.keep}`;
  terminal.note(`Backup ${shortId(backupId)} of ${vmId}, as of ${takenAt}. ${end}. Stop with Ctrl-C.`);
}

/** The whole disk as it is now: an image that needs neither the repository nor this program. */
async function keep(
  mounted: readonly Mounted[],
  diskId: string,
  target: string,
  flags: MountFlags,
  terminal: Terminal,
): Promise<void> {
  const disk = mounted.find((each) => each.diskId === diskId)?.disk;
  if (disk === undefined) return;
  const bar = flags.json === true ? noBar : progressBar(terminal);
  try {
    if (!terminal.isWatched) terminal.note(`Keeping disk ${diskId} as ${target} ...`);
    const { writtenBytes } = await saveDisk({
      ...{ disk, target: resolve(target) },
      onProgress: ({ doneBytes, totalBytes }) =>
        bar.update({ done: doneBytes, total: totalBytes, phase: `keeping ${diskId}` }),
    });
    bar.stop();
    terminal.note(
      `Disk ${diskId} is kept as ${target}: ${formatBytes(disk.sizeBytes)}, ${formatBytes(writtenBytes)} of it data.`,
    );
  } finally {
    bar.stop();
  }
}

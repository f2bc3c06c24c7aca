/**
 * A full and an incremental from end to end (request published to BackupCompleted, services running), beside what others need
 * for the same disk: restic and borg of the image file (borg as it is by itself, and with the packing that ours has), and
 * `nbdcopy | zstd -1` of the same export. Each into an empty repository, interleaved, medians. Ours is durable when it ends;
 * `...Synced` peers are followed by a sync of what they wrote.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GiB, MiB, TiB } from '@backhaul/kernel';
import { makeDisk } from './disk-data.ts';
import type { Note } from './figures.ts';
import { type Ours, openOurs } from './ours.ts';
import { median, peakMemoryMiB, timed, withQemuNbd } from './peers.ts';

const ROUNDS = Number(process.env.BACKHAUL_BENCH_ROUNDS ?? 3);
const SIZE = 4 * GiB;

export async function run(note: Note): Promise<undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'bb-'));
  try {
    const images = join(directory, 'images');
    await timed(`mkdir -p ${images}`);
    const image = join(images, 'disk.qcow2');
    await makeDisk(image, SIZE);
    await timed(
      `qemu-img create -q -f qcow2 ${images}/huge.qcow2 ${8 * TiB} && qemu-io -f qcow2 -c 'write -q 3T 64M' ${images}/huge.qcow2`,
    );
    const ours = await openOurs(directory, { kind: 'directory', address: images });
    try {
      note(await full(directory, image, ours, note));
      note(await incremental(image, ours));
      note(await sparse(ours));
    } finally {
      await ours.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function full(
  directory: string,
  image: string,
  ours: Ours,
  tell: Note,
): Promise<Record<string, number>> {
  const times: Record<string, number[]> = {
    ours: [],
    restic: [],
    borg: [],
    borgZstd: [],
    zstd: [],
    zstdSynced: [],
    null: [],
  };
  const note = (name: string, seconds: number): void => {
    times[name]?.push(seconds);
    tell({ [`backup.full.seconds.${name}.${times[name]?.length ?? 0}`]: seconds });
  };
  const firsts: number[] = [];
  let peak = 0;
  let stored = 0;
  const sizes: Record<string, number> = {};
  const out = join(directory, 'peer');
  for (let round = 0; round < ROUNDS; round += 1) {
    const { seconds, first, completed } = await ours.backup('disk', 'full');
    stored = completed.totals.storedBytes;
    note('ours', seconds);
    firsts.push(first);
    peak = Math.max(peak, await peakMemoryMiB(ours.stack.services.get('ingest')?.pid ?? 0));
    await ours.forget();
    await withQemuNbd(image, 'qcow2', join(directory, 'n.sock'), async (uri) => {
      note('null', await timed(`nbdcopy '${uri}' null:`));
      note('zstd', await timed(`nbdcopy '${uri}' - | zstd -q -1 -o ${out}`));
      await timed(`rm -f ${out} && sync`);
      note('zstdSynced', await timed(`nbdcopy '${uri}' - | zstd -q -1 -o ${out} && sync ${out}`));
      await timed(`rm -f ${out} && sync`);
    });
    const secret = {
      RESTIC_PASSWORD: 'bench',
      BORG_PASSPHRASE: '',
      BORG_BASE_DIR: join(directory, 'borg'),
      XDG_CACHE_HOME: join(directory, 'cache'),
    };
    await timed(`restic init -q -r ${out}`, secret);
    note('restic', await timed(`restic backup -q -r ${out} ${image}`, secret));
    sizes.restic = await bytesIn(out);
    // By itself borg packs with lz4: twice as fast as zstd, into much larger chunks.
    for (const [name, packing] of [
      ['borg', ''],
      ['borgZstd', '-C zstd,1'],
    ] as const) {
      await timed(`rm -rf ${out} && borg init -e none ${out} && sync`, secret);
      note(name, await timed(`borg create ${packing} ${out}::one ${image}`, secret));
      sizes[name] = await bytesIn(out);
    }
    await timed(`rm -rf ${out} && sync`);
  }
  const of = (name: string): number => median(times[name] ?? []);
  return {
    'backup.full.seconds': of('ours'),
    'backup.full.mibPerSecond': SIZE / MiB / of('ours'),
    'backup.full.firstChunkSeconds': median(firsts),
    'backup.full.vsRestic': of('restic') / of('ours'),
    'backup.full.vsBorg': of('borg') / of('ours'),
    'backup.full.vsBorgZstd': of('borgZstd') / of('ours'),
    'backup.full.storedMiB': stored / MiB,
    'backup.full.storedOfRestic': stored / (sizes.restic ?? Number.NaN),
    'backup.full.storedOfBorg': stored / (sizes.borg ?? Number.NaN),
    'backup.full.storedOfBorgZstd': stored / (sizes.borgZstd ?? Number.NaN),
    'backup.full.vsNbdcopyZstd': of('zstd') / of('ours'),
    'backup.full.vsNbdcopyZstdSynced': of('zstdSynced') / of('ours'),
    'backup.full.vsNbdcopyNull': of('null') / of('ours'),
    'backup.full.ingestPeakMiB': peak,
  };
}

async function bytesIn(folder: string): Promise<number> {
  const { stdout } = await promisify(execFile)('du', ['-sb', folder]);
  return Number.parseInt(stdout, 10);
}

/** The same change on a disk of 4 GiB and on one of 8 TiB: time follows the change, and exactly the dirty extents are read. */
async function incremental(image: string, ours: Ours): Promise<Record<string, number>> {
  await ours.backup('disk', 'full');
  const figures: Record<string, number> = {};
  for (const mib of [16, 256]) {
    await timed(`qemu-io -f qcow2 -c 'write -q -P ${mib % 251} 1G ${mib}M' ${image}`);
    const { seconds, completed } = await ours.backup('disk', 'auto');
    figures[`backup.incremental${mib}MiB.seconds`] = seconds;
    figures[`backup.incremental${mib}MiB.readPerDirty`] = completed.totals.readBytes / (mib * MiB);
  }
  return figures;
}

async function sparse(ours: Ours): Promise<Record<string, number>> {
  const ingest = ours.stack.services.get('ingest');
  await ingest?.stop();
  await ingest?.start();
  const { seconds } = await ours.backup('huge', 'full');
  return {
    'backup.sparse8TiB.seconds': seconds,
    'backup.sparse8TiB.ingestPeakMiB': await peakMemoryMiB(ingest?.pid ?? 0),
  };
}

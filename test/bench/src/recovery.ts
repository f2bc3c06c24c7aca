/**
 * A disk comes back: a recovery from end to end (request published to RecoveryCompleted, services running, a folder of images as
 * host), direct to the host, through proxies, and with all of it read back. Beside the nearest that others do for the same disk:
 * `nbdcopy` of a raw file with the same bytes into a fresh qcow2 of qemu-nbd, which has nothing to unpack and nothing to check, and
 * restic's restore of the image. In turns, what is read in the page cache, what was written removed and synced before the next; medians.
 *
 * Ours is on the disk when it ends: every byte is flushed before it is confirmed. The peers leave theirs in the page cache;
 * for `...Synced` the same copies are followed by what is missing: the image closed, and its file synced.
 */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault, GiB, MiB } from '@backhaul/kernel';
import { makeDisk } from './disk-data.ts';
import { type Note, print } from './figures.ts';
import { type MeasuredRecovery, type RecoveryOrder, recover } from './one-recovery.ts';
import { type Ours, openOurs } from './ours.ts';
import { cpuSecondsOf, median, peakMemoryMiB, timed, withQemuNbd } from './peers.ts';

const ROUNDS = Number(process.env.BACKHAUL_BENCH_ROUNDS ?? 3);
const SIZE = Number(process.env.BACKHAUL_BENCH_DISK_MIB ?? 4096) * MiB;
const VM = 'disk';

interface Place {
  readonly directory: string;
  readonly images: string;
  /** What is backed up, and the same bytes as a raw file. */
  readonly image: string;
  readonly raw: string;
}

export async function run(note: Note): Promise<undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'br-'));
  try {
    const images = join(directory, 'images');
    const place = { directory, images, image: join(images, `${VM}.qcow2`), raw: join(directory, 'raw') };
    await mkdir(images);
    await makeDisk(place.image, SIZE);
    await timed(`qemu-img convert -f qcow2 -O raw ${place.image} ${place.raw} && sync`);
    const repository = restic(place);
    await timed(
      `restic init -q -r ${repository} && restic backup -q -r ${repository} ${place.image}`,
      secretOf(place),
    );
    const ours = await openOurs(directory, { kind: 'directory', address: images });
    try {
      const { completed } = await ours.backup(VM, 'full');
      await inTurns(note, place, ours, completed.backupId);
    } finally {
      await ours.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const WAYS = ['direct', 'proxies', 'verify'] as const;
type Way = (typeof WAYS)[number];
const ORDERS: Readonly<Record<Way, Pick<RecoveryOrder, 'mode' | 'verify'>>> = {
  direct: { mode: 'direct-to-host', verify: false },
  proxies: { mode: 'proxy-vm', verify: false },
  verify: { mode: 'direct-to-host', verify: true },
};

async function inTurns(note: Note, place: Place, ours: Ours, backup: string): Promise<void> {
  const measured: Record<Way, MeasuredRecovery[]> = { direct: [], proxies: [], verify: [] };
  const peers: Record<string, number[]> = { nbdcopy: [], nbdcopySynced: [], restic: [], resticSynced: [] };
  const cpu: number[] = [];
  const exportPid = ours.stack.services.get('export')?.pid ?? 0;
  // Not counted: a service starts once and runs for months.
  await recover(ours, { ...ORDERS.direct, backup, vm: 'first' });
  await timed(`rm -rf ${join(place.images, 'first')} && sync`);
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const way of WAYS) {
      // A name of its own: who looks at the log later can tell them apart.
      const vm = `${way}-${round}`;
      await warm(ours.stack.repository);
      const cpuBefore = await cpuSecondsOf(exportPid);
      const recovery = await recover(ours, { ...ORDERS[way], backup, vm });
      if (way === 'direct') cpu.push((await cpuSecondsOf(exportPid)) - cpuBefore);
      measured[way].push(recovery);
      note({ [`recovery.seconds.${way}.${round}`]: recovery.seconds });
      if (round === 1) await requireSame(place, await imageIn(join(place.images, vm)));
      await timed(`rm -rf ${join(place.images, vm)} && sync`);
    }
    for (const [name, peer] of [
      ['nbdcopy', nbdcopy],
      ['restic', resticRestore],
    ] as const) {
      const { seconds, synced } = await peer(place, round === 1);
      peers[name]?.push(seconds);
      peers[`${name}Synced`]?.push(synced);
      note({
        [`recovery.seconds.${name}.${round}`]: seconds,
        [`recovery.seconds.${name}Synced.${round}`]: synced,
      });
    }
  }
  for (const way of WAYS) note(figuresOf(way, measured[way], peers));
  const mib = await peakMemoryMiB(exportPid);
  note({
    'recovery.readBackShare': median(measured.verify.map(({ readBackShare }) => readBackShare)),
    'recovery.readBackShare.sample': median(measured.direct.map(({ readBackShare }) => readBackShare)),
    'recovery.export.cpuSecondsPerGiB': median(cpu) / (SIZE / GiB),
    'recovery.export.peakMiB': mib,
  });
}

function figuresOf(way: Way, measured: readonly MeasuredRecovery[], peers: Record<string, number[]>) {
  const seconds = median(measured.map((each) => each.seconds));
  const against = Object.entries(peers).map(([name, times]) => [
    `recovery.${way}.vs${name.charAt(0).toUpperCase()}${name.slice(1)}`,
    median(times) / seconds,
  ]);
  return {
    [`recovery.${way}.seconds`]: seconds,
    [`recovery.${way}.mibPerSecond`]: SIZE / MiB / seconds,
    [`recovery.${way}.untilWritingSeconds`]: median(measured.map((each) => each.untilWritingSeconds)),
    [`recovery.${way}.finishingSeconds`]: median(measured.map((each) => each.finishingSeconds)),
    ...(way === 'verify' ? {} : Object.fromEntries(against)),
  };
}

/** Into the page cache, so that nobody waits for a disk to read from. */
const warm = (path: string): Promise<number> => timed(`find ${path} -type f -exec cat {} + > /dev/null`);

interface PeerTimes {
  readonly seconds: number;
  readonly synced: number;
}

/** As a target of a directory host is opened: zeros stay holes. */
async function nbdcopy({ directory, image, raw }: Place, isCompared: boolean): Promise<PeerTimes> {
  const copy = join(directory, 'copy.qcow2');
  await timed(`qemu-img create -q -f qcow2 ${copy} ${SIZE} && sync`);
  await warm(raw);
  let [begun, seconds] = [0, 0];
  const options = ['--discard=unmap', '--detect-zeroes=unmap'];
  await withQemuNbd(
    copy,
    'qcow2',
    join(directory, 'w.sock'),
    async (uri) => {
      begun = performance.now();
      seconds = await timed(`nbdcopy ${raw} '${uri}'`);
    },
    { writable: true, options },
  );
  await timed(`sync ${copy}`);
  const synced = (performance.now() - begun) / 1000;
  if (isCompared) await requireSame({ image }, copy);
  await timed(`rm ${copy} && sync`);
  return { seconds, synced };
}

const restic = ({ directory }: Place): string => join(directory, 'restic');
const secretOf = ({ directory }: Place) => ({
  RESTIC_PASSWORD: 'bench',
  XDG_CACHE_HOME: join(directory, 'cache'),
});

async function resticRestore(place: Place, isCompared: boolean): Promise<PeerTimes> {
  const out = join(place.directory, 'restored');
  await warm(restic(place));
  const begun = performance.now();
  const seconds = await timed(
    `restic restore latest -q -r ${restic(place)} --target ${out}`,
    secretOf(place),
  );
  await timed(`sync ${out}${place.image}`);
  const synced = (performance.now() - begun) / 1000;
  if (isCompared) await requireSame(place, `${out}${place.image}`);
  await timed(`rm -rf ${out} && sync`);
  return { seconds, synced };
}

async function imageIn(folder: string): Promise<string> {
  const [name] = (await readdir(folder)).filter((each) => each.endsWith('.qcow2'));
  if (name === undefined) throw new Fault(`There is no image in ${folder}`);
  return join(folder, name);
}

/** What leaves something out would be the faster one. */
const requireSame = ({ image }: Pick<Place, 'image'>, other: string): Promise<number> =>
  timed(`qemu-img compare -q -f qcow2 -F qcow2 ${image} ${other}`);

if (import.meta.main) await run(print);

/**
 * A running VM of libvirt, a full and incrementals of it by Backhaul (from the host's own export, all services running, request
 * published to BackupCompleted) and by virtnbdbackup, in turns: the same VM, the same disk, the same changes. Ours hashes,
 * compresses and is durable when it ends; the peer copies, or packs with lz4, and `...Synced` is followed by a sync of what it wrote.
 */
import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault, GiB, MiB } from '@backhaul/kernel';
import { makeDisk } from './disk-data.ts';
import type { Note } from './figures.ts';
import { type LibvirtVm, startLibvirtVm, TARGET } from './libvirt-vm.ts';
import { type Ours, openOurs } from './ours.ts';
import { median, timed } from './peers.ts';

const ROUNDS = Number(process.env.BACKHAUL_BENCH_ROUNDS ?? 3);
const VM = 'web';
/** Below the size at which a full goes through proxies. */
const SIZE = 2 * GiB;

export async function run(note: Note): Promise<undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'bv-'));
  try {
    // libvirt asks whether it may before it does, and as the user that it is.
    await chmod(directory, 0o711);
    const vms = join(directory, 'vms');
    await mkdir(vms);
    const image = join(directory, 'disk.qcow2');
    await makeDisk(image, SIZE);
    const vm = await startLibvirtVm({
      folder: join(directory, 'libvirt'),
      vmId: VM,
      image,
      monitor: join(vms, `${VM}.qmp`),
    });
    try {
      const ours = await openOurs(directory, { kind: 'qemu', address: vms });
      try {
        await fulls(note, vm, ours);
        await incrementals(note, vm, ours);
      } finally {
        await ours.close();
      }
    } finally {
      await vm.stop();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

interface Peer {
  readonly seconds: number;
  readonly synced: number;
}

/** Into `<folder>/out`; the peer finds there what it has to build on. */
async function peer(vm: LibvirtVm, level: 'full' | 'inc', more = ''): Promise<Peer> {
  await vm.freeNbdServer();
  const out = join(vm.folder, 'out');
  const command = `virtnbdbackup -n -d ${VM} -l ${level} -o ${out} -S ${vm.folder} -f ${vm.folder}/nbd ${more}`;
  const seconds = await timed(`${vm.prefix} ${command}`, vm.environment);
  return { seconds, synced: seconds + (await timed(`find ${out} -type f -exec sync {} +`)) };
}

const forget = (vm: LibvirtVm): Promise<number> => timed(`rm -rf ${vm.folder}/out && sync`);

async function fulls(note: Note, vm: LibvirtVm, ours: Ours): Promise<void> {
  const times: Record<string, number[]> = {};
  const tell = (name: string, seconds: number): void => {
    times[name] = [...(times[name] ?? []), seconds];
    note({ [`virtnbdbackup.full.seconds.${name}.${times[name].length}`]: seconds });
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    await ours.forget();
    tell('ours', (await ours.backup(VM, 'full')).seconds);
    await forget(vm);
    const packed = await peer(vm, 'full', '-z');
    tell('lz4', packed.seconds);
    await forget(vm);
    const plain = await peer(vm, 'full');
    tell('plain', plain.seconds);
    tell('plainSynced', plain.synced);
  }
  const of = (name: string): number => median(times[name] ?? []);
  note({
    'virtnbdbackup.full.seconds': of('ours'),
    'virtnbdbackup.full.vsPlain': of('plain') / of('ours'),
    'virtnbdbackup.full.vsPlainSynced': of('plainSynced') / of('ours'),
    'virtnbdbackup.full.vsLz4': of('lz4') / of('ours'),
  });
}

async function incrementals(note: Note, vm: LibvirtVm, ours: Ours): Promise<void> {
  for (const mib of [16, 256]) {
    await vm.write('1G', `${mib}M`, mib % 251);
    const { seconds, completed } = await ours.backup(VM, 'auto');
    const theirs = await peer(vm, 'inc');
    await requireChange(vm, mib);
    note({
      [`virtnbdbackup.incremental${mib}MiB.seconds`]: seconds,
      [`virtnbdbackup.incremental${mib}MiB.readPerDirty`]: completed.totals.readBytes / (mib * MiB),
      [`virtnbdbackup.incremental${mib}MiB.vsPlain`]: theirs.seconds / seconds,
      [`virtnbdbackup.incremental${mib}MiB.vsPlainSynced`]: theirs.synced / seconds,
    });
  }
}

/** A peer that left out what was written would be the faster one. */
async function requireChange({ folder }: LibvirtVm, mib: number): Promise<void> {
  const out = join(folder, 'out');
  const sizes = (await readdir(out))
    .filter((name) => name.startsWith(`${TARGET}.inc.`) && name.endsWith('.data'))
    .map(async (name) => (await stat(join(out, name))).size);
  const largest = Math.max(0, ...(await Promise.all(sizes)));
  if (largest < mib * MiB) throw new Fault(`virtnbdbackup saved ${largest} bytes of ${mib} MiB changed`);
}

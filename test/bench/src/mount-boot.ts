/**
 * The boot of a guest from a mount, beside the boot from its disk: the same machine (QEMU without KVM, as everywhere here), the same
 * bytes, writes thrown away (`snapshot=on`). From the start of the machine to the line that the guest says on its console;
 * `withMount...` begins when the mount was asked for. Each round with a mount of its own, which has nothing in memory. What such a
 * boot reads are the boot loader, the kernel and its first files, by the BIOS.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeBootableDisk } from '@backhaul/appliance';
import { exportUri } from '@backhaul/contracts';
import { Fault, withDeadline } from '@backhaul/kernel';
import { type Note, print } from './figures.ts';
import { median, timed } from './peers.ts';
import { BACKUP, CHUNK_BYTES, DISK, putRestorePoint } from './repository-data.ts';

const ROUNDS = Number(process.env.BACKHAUL_BENCH_ROUNDS ?? 5);
const BOOT_MILLISECONDS_MAX = 120_000;
const MEMORY_MIB = 160;

export async function run(note: Note): Promise<undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'backhaul-bench-boot-'));
  try {
    const raw = join(folder, 'disk.raw');
    const image = join(folder, 'disk.qcow2');
    const repository = join(folder, 'repository');
    const line = await makeBootableDisk(raw, 'as-it-was');
    await timed(`qemu-img convert -f raw -O qcow2 ${raw} ${image}`);
    await putRestorePoint(repository, (await stat(raw)).size, () =>
      createReadStream(raw, { highWaterMark: CHUNK_BYTES }),
    );
    // Both from the page cache.
    await timed(`find ${folder} -type f -exec cat {} + > /dev/null`);
    const times: { disk: number[]; mount: number[]; withMount: number[] } = {
      ...{ disk: [], mount: [], withMount: [] },
    };
    for (let round = 1; round <= ROUNDS; round += 1) {
      const disk = await boot(`file=${image},format=qcow2`, line);
      const { seconds, withMount } = await bootFromMount(folder, repository, line);
      times.disk.push(disk);
      times.mount.push(seconds);
      times.withMount.push(withMount);
      note({ [`mount.boot.seconds.disk.${round}`]: disk, [`mount.boot.seconds.mount.${round}`]: seconds });
    }
    const [disk, mount, withMount] = [median(times.disk), median(times.mount), median(times.withMount)];
    note({
      'mount.boot.seconds': mount,
      'mount.boot.vsDisk': disk / mount,
      'mount.boot.withMountSeconds': withMount,
      'mount.boot.withMountVsDisk': disk / withMount,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function bootFromMount(folder: string, repository: string, line: string) {
  const socket = join(folder, 'mount.sock');
  const begun = performance.now();
  const mount = spawn(
    process.execPath,
    ['libs/cli/src/main.ts', 'mount', BACKUP, '--repository', repository, '--socket', socket],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const ended = new Promise((resolve) => mount.once('exit', resolve));
  try {
    await said(mount, 'Stop with Ctrl-C', 'The mount');
    const uri = exportUri(`nbd+unix:///?socket=${socket}`, DISK);
    const seconds = await boot(`file=${uri},format=raw`, line);
    return { seconds, withMount: (performance.now() - begun) / 1000 };
  } finally {
    mount.kill('SIGTERM');
    await ended;
  }
}

/** Seconds until the guest says the line. */
async function boot(drive: string, line: string): Promise<number> {
  const begun = performance.now();
  const machine = spawn(
    'qemu-system-x86_64',
    [
      ...['-M', 'pc', '-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-m', String(MEMORY_MIB)],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'std', '-serial', 'stdio'],
      ...['-drive', `${drive},if=none,id=system,snapshot=on`],
      ...['-device', 'virtio-blk-pci,drive=system,bootindex=1'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const ended = new Promise((resolve) => machine.once('exit', resolve));
  try {
    await said(machine, line, 'The machine');
    return (performance.now() - begun) / 1000;
  } finally {
    machine.kill('SIGKILL');
    await ended;
  }
}

/** Resolves when the process has said these words, in whatever way. Throws with all that it said where it ends before. */
const said = (child: ChildProcess, words: string, what: string): Promise<void> =>
  withDeadline(`${what} saying "${words}"`, BOOT_MILLISECONDS_MAX, () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let all = '';
    const hear = (data: Buffer): void => {
      all += String(data);
      if (all.includes(words)) resolve();
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
    child.once('error', reject);
    child.once('close', (code) => reject(new Fault(`${what} ended with status ${code}; it said: ${all}`)));
    return promise;
  });

if (import.meta.main) await run(print);

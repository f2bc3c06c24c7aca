/**
 * How soon a VM is back: an instant recovery beside a full one of the same restore point (a disk that boots, and one with data), both from
 * the request to the VM that runs (`TargetKept` in the log) and to the line that its guest says when it has booted. In turns, the
 * repository in the page cache, what was made removed before the next; medians. The full recovery is direct to the host, its fastest way.
 * The instant one is also followed to its end (`whole`), when the disks stand alone: it is filled while its guest boots, unhindered, and
 * `vsFull` says there what running at once costs. QEMU without KVM where there is none: then booting takes most of the time.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeBootableDisk } from '@backhaul/appliance';
import { requestRecovery } from '@backhaul/client';
import { eventually, Fault, MiB } from '@backhaul/kernel';
import { makeDisk } from './disk-data.ts';
import { type Note, print } from './figures.ts';
import { find } from './find-event.ts';
import { type Ours, openOurs } from './ours.ts';
import { median, timed } from './peers.ts';

const ROUNDS = Number(process.env.BACKHAUL_BENCH_ROUNDS ?? 3);
const DATA = Number(process.env.BACKHAUL_BENCH_DISK_MIB ?? 2048) * MiB;
const VM = 'web';
const TARGET = 'target';
const LOOK_MILLISECONDS = 20;
const BOOT_MILLISECONDS = 300_000;

/** Seconds from the request. */
interface Measured {
  readonly running: number;
  readonly booted: number;
  readonly whole: number;
}

interface Place {
  readonly ours: Ours;
  /** Of the host that VMs come back to. */
  readonly vms: string;
  readonly backup: string;
  /** What the guest says when it has booted. */
  readonly line: string;
}

export async function run(note: Note): Promise<undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'bt-'));
  try {
    const [images, vms] = [join(directory, 'images'), join(directory, 'vms')];
    for (const folder of [join(images, VM), vms]) await mkdir(folder, { recursive: true });
    const line = await makeBootableDisk(join(directory, 'boot.raw'), 'it-is-back');
    const vda = join(images, VM, 'vda.qcow2');
    await timed(`qemu-img convert -f raw -O qcow2 ${join(directory, 'boot.raw')} ${vda}`);
    await makeDisk(join(images, VM, 'vdb.qcow2'), DATA);
    const target = { hostId: TARGET, kind: 'qemu', address: vms } as const;
    const ours = await openOurs(directory, { kind: 'directory', address: images }, target);
    try {
      const { completed } = await ours.backup(VM, 'full');
      await inTurns(note, { ours, vms, line, backup: completed.backupId });
    } finally {
      await ours.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function inTurns(note: Note, place: Place): Promise<void> {
  const instant: Measured[] = [];
  const full: Measured[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const [name, all] of [
      ['instant', instant],
      ['full', full],
    ] as const) {
      const measured = await recover(place, `${name}-${round}`, name === 'instant');
      all.push(measured);
      note({
        [`instant.seconds.${name}Running.${round}`]: measured.running,
        [`instant.seconds.${name}Booted.${round}`]: measured.booted,
        [`instant.seconds.${name}Whole.${round}`]: measured.whole,
      });
    }
  }
  for (const what of ['running', 'booted', 'whole'] as const) {
    const [ours, fulls] = [median(instant.map((each) => each[what])), median(full.map((each) => each[what]))];
    note({
      [`instant.${what}.seconds`]: ours,
      [`instant.${what}.fullSeconds`]: fulls,
      [`instant.${what}.vsFull`]: fulls / ours,
    });
  }
}

/** Its VM, and all that it has, is gone when this resolves. */
async function recover({ ours, vms, backup, line }: Place, vm: string, instant: boolean): Promise<Measured> {
  const { stack, log } = ours;
  await timed(`find ${stack.repository} -type f -exec cat {} + > /dev/null`);
  const folder = join(vms, 'vms', vm);
  const begun = Date.now();
  const answer = await requestRecovery({
    ...{ natsUrl: stack.natsUrl, host: TARGET, vm, backup, start: true, instant },
    ...(instant ? {} : { mode: 'direct-to-host' }),
  });
  const { recoveryId } = answer;
  if (recoveryId === undefined) throw new Fault(`The recovery was refused: ${answer.refusal?.message}`);
  const since = (instants: number): number => (instants - begun) / 1000;
  try {
    const booted = eventually(
      `${vm} saying "${line}"`,
      BOOT_MILLISECONDS,
      async () => {
        const said = await readFile(join(folder, 'console.log'), 'utf8').catch(() => '');
        return said.includes(line) ? Date.now() : undefined;
      },
      LOOK_MILLISECONDS,
    );
    booted.catch(() => undefined);
    const kept = await find(log, recoveryId, 'TargetKept');
    if (!('started' in kept.data && kept.data.started === true))
      throw new Fault(`VM ${vm} was not started: ${JSON.stringify(kept.data)}`);
    const completed = await find(log, recoveryId, 'RecoveryCompleted');
    const [running, whole] = [Date.parse(kept.recordedAt), Date.parse(completed.recordedAt)];
    await find(log, recoveryId, 'RunClosed');
    return { running: since(running), booted: since(await booted), whole: since(whole) };
  } finally {
    await end(folder);
    await timed(`rm -rf ${folder} && sync`);
  }
}

async function end(folder: string): Promise<void> {
  const { pid } = JSON.parse(await readFile(join(folder, 'pid.json'), 'utf8'));
  process.kill(pid, 'SIGKILL');
  await eventually('The end of the VM', 30_000, async () => {
    const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    // A zombie has let go of its images.
    return status === '' || status.includes(') Z ') ? true : undefined;
  });
}

if (import.meta.main) await run(print);

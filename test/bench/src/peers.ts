/** Other programs on the same data, timed from outside, and what a process has used. */
import { execFile, spawn } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { eventually, MiB } from '@backhaul/kernel';

const run = promisify(execFile);
const MILLISECONDS_MAX = 600_000;

/** Seconds that a shell command takes. Throws with what it said when it fails. */
export async function timed(command: string, environment: Record<string, string> = {}): Promise<number> {
  const begun = performance.now();
  await run('bash', ['-o', 'pipefail', '-ec', command], {
    timeout: MILLISECONDS_MAX,
    env: { ...process.env, ...environment },
    maxBuffer: 16 * MiB,
  });
  return (performance.now() - begun) / 1000;
}

/** Serves an image, read-only by default, while `work` runs; closed when this resolves. */
export async function withQemuNbd<T>(
  image: string,
  format: string,
  socket: string,
  work: (uri: string) => Promise<T>,
  { writable = false, options = [] }: { writable?: boolean; options?: readonly string[] } = {},
): Promise<T> {
  const args = [...(writable ? [] : ['-r']), ...options, '-f', format, '-k', socket, '-t', '-e', '8', image];
  const server = spawn('qemu-nbd', args, { stdio: 'ignore' });
  const ended = new Promise((resolve) => server.once('exit', resolve));
  try {
    const uri = `nbd+unix:///?socket=${socket}`;
    await eventually('qemu-nbd answering', 10_000, () =>
      run('nbdinfo', ['--size', uri]).then(
        () => true,
        () => undefined,
      ),
    );
    return await work(uri);
  } finally {
    server.kill('SIGTERM');
    await ended;
    await rm(socket, { force: true });
  }
}

/** The most memory that a process has had resident, in MiB. */
export async function peakMemoryMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}

/** Of Linux, for whoever reads /proc. */
const TICKS_PER_SECOND = 100;

/** The processor time that a process has used, all its threads together. */
export async function cpuSecondsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // Behind the name, which may hold anything: the 14th and the 15th field of proc(5).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low, high] = [
    sorted[sorted.length % 2 === 0 ? middle - 1 : middle] ?? Number.NaN,
    sorted[middle] ?? Number.NaN,
  ];
  return (low + high) / 2;
}

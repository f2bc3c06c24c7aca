/**
 * Processes that outlive the one that started them. A process is known by its pid, its start time and the boot it was
 * started in, so that a pid that was given to somebody else is never taken for ours, and never ended.
 */
import { readdir, readFile } from 'node:fs/promises';
import { eventually, Fault } from '@backhaul/kernel';
import { z } from 'zod';

export const ProcessMark = z.object({
  pid: z.int().positive(),
  /** `<boot id>/<clock ticks since boot>`: field 22 of /proc/<pid>/stat (proc_pid_stat(5)). */
  started: z.string(),
});
export type ProcessMark = z.infer<typeof ProcessMark>;

const bootId = readFile('/proc/sys/kernel/random/boot_id', 'utf8').then(
  (text) => text.trim(),
  () => 'unknown',
);

/** Undefined when no such process runs; a zombie no longer runs. */
export async function markOf(pid: number): Promise<ProcessMark | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (stat === undefined) return undefined;
  // The name in field 2 may hold spaces and brackets: fields are counted from the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, ticks] = [fields[0], fields[19]];
  if (state === undefined || ticks === undefined || state === 'Z' || state === 'X') return undefined;
  return { pid, started: `${await bootId}/${ticks}` };
}

export const isRunning = async (mark: ProcessMark): Promise<boolean> =>
  (await markOf(mark.pid))?.started === mark.started;

/**
 * Ends a process and sees it gone: asked first, killed when it has not obeyed after `patienceMilliseconds`.
 * Throws a retryable Fault when it survives even that (a process that hangs in the kernel).
 */
export async function endProcess(
  what: string,
  mark: ProcessMark,
  patienceMilliseconds = 5000,
): Promise<void> {
  const gone = async () => ((await isRunning(mark)) ? undefined : true);
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!(await isRunning(mark))) return;
    try {
      process.kill(mark.pid, signal);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return;
      throw new Fault(`Ending ${what} (process ${mark.pid}) by ${signal} failed`, { cause });
    }
    const wait = eventually(`The end of ${what} (process ${mark.pid})`, patienceMilliseconds, gone, 10);
    if (signal === 'SIGKILL') await wait;
    else await wait.catch(() => undefined);
  }
}

/**
 * Processes of `program` that have `part` in one of their arguments. Finds what was started just before a crash, when
 * its mark had not been written yet: the paths of our sockets are in its arguments, and in nobody else's.
 */
export async function processesNaming(program: string, part: string): Promise<ProcessMark[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      const [started, ...args] = commandLine.split('\0');
      const isIt = started === program && args.some((argument) => argument.includes(part));
      return isIt ? await markOf(pid) : undefined;
    }),
  );
  return found.filter((mark) => mark !== undefined);
}

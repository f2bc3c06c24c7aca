/** Runs a program to its end, with a time-out; a failure says what the program itself said. */
import { execFile } from 'node:child_process';
import { Fault, MiB } from '@backhaul/kernel';

export async function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; milliseconds?: number } = {},
): Promise<string> {
  const line = [command, ...args].join(' ');
  const milliseconds = options.milliseconds ?? 60_000;
  return await new Promise((resolve, reject) => {
    const settings = {
      cwd: options.cwd ?? '/',
      timeout: milliseconds,
      maxBuffer: 64 * MiB,
      // Programs that make file systems are where only root looks by itself.
      env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    };
    execFile(command, args, settings, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const missing = error.code === 'ENOENT' ? `there is no program ${command}` : undefined;
      const late = error.killed === true ? `it took longer than ${milliseconds} ms` : undefined;
      const why = missing ?? late ?? (stderr.trim() || stdout.trim() || error.message);
      reject(new Fault(`"${line.slice(0, 300)}" failed: ${why.slice(-2000)}`, { cause: error }));
    });
  });
}

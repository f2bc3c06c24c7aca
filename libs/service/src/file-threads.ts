/**
 * Threads for work at files. Node makes four for a whole process, which does its look-ups of names with them as well: where a file system
 * hangs and does not fail, four calls keep all of them, and nothing else gets on. How many there are is settled when the first is needed, and
 * to load a program is to need one: a process that was not told before it was started is started anew in its own place, with the
 * same id, before it has opened anything.
 */
const FILE_THREADS = 128;

/** To be called first in a `main.ts`. `UV_THREADPOOL_SIZE` says another number. */
export function enoughFileThreads(): void {
  if (process.env.UV_THREADPOOL_SIZE !== undefined || process.execve === undefined) return;
  process.execve(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
    ...process.env,
    UV_THREADPOOL_SIZE: String(FILE_THREADS),
  });
}

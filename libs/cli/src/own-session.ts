/**
 * Runs this same command again as a child in a session of its own. A terminal sends Ctrl-C to everything in its foreground at
 * once, so the databases would go while the services still need them; the child hears of it from us alone, and stops its
 * parts in their order. It also stops when we are gone without a word.
 */
import { spawn } from 'node:child_process';
import { CommandFailure, type ExitCode, exitCodes } from './exit.ts';

const MARK = 'BACKHAUL_OWN_SESSION';

export const isOwnSession = (environment: NodeJS.ProcessEnv): boolean => environment[MARK] === '1';

/** Resolves when the child has ended well; what went wrong it has told itself. */
export async function inOwnSession(environment: NodeJS.ProcessEnv, signal: AbortSignal): Promise<void> {
  const child = spawn(process.execPath, process.argv.slice(1), {
    env: { ...environment, [MARK]: '1' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    detached: true,
  });
  const stop = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('exit', resolve);
    child.once('error', reject);
  });
  signal.removeEventListener('abort', stop);
  const known = Object.values(exitCodes).find((each) => each === code) as ExitCode | undefined;
  if (code !== exitCodes.ok) throw new CommandFailure(known ?? exitCodes.failed, '');
}

/** For the child: the signal of `work` aborts when it is told to stop, and when the parent is gone. */
export async function untilParentIsGone(
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const gone = new AbortController();
  process.once('disconnect', () => gone.abort());
  try {
    await work(AbortSignal.any([signal, gone.signal]));
  } finally {
    // An open channel would keep the process alive.
    if (process.connected) process.disconnect();
  }
}

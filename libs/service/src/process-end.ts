/**
 * How a process ends. Asked to (SIGTERM, SIGINT): once in good order, at the second time at once. By a bug or a fault it
 * cannot live with: at once, with the whole chain of causes in the log; it is started again and goes on from its events.
 */
import { describeError } from '@backhaul/kernel';
import type { Logger } from 'pino';

/** Exit codes, the last two after sysexits.h. */
export const exitCodes = { stopped: 0, somethingOpen: 1, fatal: 70, wrongConfiguration: 78 } as const;

export interface ProcessEnd {
  /** Aborts when the process is asked to stop. */
  readonly asked: AbortSignal;
  /** Aborts when it is asked again, or has taken too long. */
  readonly givenUp: AbortSignal;
  die(what: string, error: unknown): never;
}

export function watchProcessEnd(log: Logger, shutdownSeconds: number): ProcessEnd {
  const [asked, givenUp] = [new AbortController(), new AbortController()];
  const die = (what: string, error: unknown): never => {
    log.fatal({ error: describeError(error), err: error }, what);
    process.exit(exitCodes.fatal);
  };
  const ask = (signal: string): void => {
    if (asked.signal.aborted) {
      log.warn({ signal }, 'asked to stop a second time');
      givenUp.abort();
      return;
    }
    log.info({ signal, shutdownSeconds }, 'stopping');
    setTimeout(() => {
      log.warn({ shutdownSeconds }, 'stopping takes too long');
      givenUp.abort();
    }, shutdownSeconds * 1000).unref();
    asked.abort();
  };
  process.on('SIGTERM', ask);
  process.on('SIGINT', ask);
  process.on('unhandledRejection', (error) => die('a rejection that nobody handled', error));
  process.on('uncaughtException', (error) => die('an exception that nobody caught', error));
  return { asked: asked.signal, givenUp: givenUp.signal, die };
}

/**
 * Opens what may be away for now (a folder that is not mounted yet, a tool that is being installed), as often as it takes, and says why it
 * could not: at once, when the reason changes, and now and then while it stays the same. A broken invariant is not waited out.
 */
import { AssertionError } from 'node:assert';
import { setTimeout } from 'node:timers/promises';
import { describeError } from '@backhaul/kernel';
import type { Logger } from 'pino';

const RETRY_FIRST_MILLISECONDS = 1_000;
const RETRY_LONGEST_MILLISECONDS = 30_000;
/** While nothing changes. */
const REMINDER_MILLISECONDS = 10 * 60_000;

export interface Clock {
  now(): number;
  /** Ends early at the signal. */
  pause(milliseconds: number, signal: AbortSignal): Promise<void>;
}

const realClock: Clock = {
  now: Date.now,
  pause: (milliseconds, signal) => setTimeout(milliseconds, undefined, { signal }).catch(() => undefined),
};

/** Undefined when the signal came first; what is being opened then goes on by itself. */
export async function openPatiently<T>(options: {
  open(): Promise<T>;
  onFailure(reason: string): void;
  readonly log: Pick<Logger, 'warn' | 'info'>;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}): Promise<T | undefined> {
  const { signal, log, clock = realClock } = options;
  const aborted = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
  let said = { reason: '', at: 0 };
  for (let tries = 1; !signal.aborted; tries += 1) {
    try {
      const opened = await Promise.race([options.open(), aborted]);
      if (opened !== undefined && tries > 1) log.info({ tries }, 'the host could be opened after all');
      return opened;
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      const reason = describeError(error);
      options.onFailure(reason);
      if (reason !== said.reason || clock.now() - said.at >= REMINDER_MILLISECONDS) {
        log.warn({ tries, error: reason }, 'the host cannot be opened; trying again until it can');
        said = { reason, at: clock.now() };
      }
      const wait = Math.min(RETRY_LONGEST_MILLISECONDS, RETRY_FIRST_MILLISECONDS * 2 ** (tries - 1));
      await clock.pause(wait, signal);
    }
  }
  return undefined;
}

/**
 * Following the log: pages in order, then new ones as they come. For projections and relays, which keep `page.next` as
 * their checkpoint: whoever reads on from there never misses an event.
 * Appends of this process wake it at once; those of others are found by asking every `idleMilliseconds`.
 */
import { Fault } from '@backhaul/kernel';
import type { EventStore, LogFilter, LogPage } from './event-store.ts';

export interface TailOptions {
  /** The position that was read last: 0 for the whole log. */
  readonly after: number;
  readonly filter?: LogFilter;
  readonly signal: AbortSignal;
  /** Events per page, at most (default 1,000). */
  readonly limit?: number;
  readonly idleMilliseconds?: number;
  /**
   * Called for a fault that another try can mend, which is then made after the idle time. Without it, the fault is thrown.
   */
  readonly onFault?: (fault: Fault) => void;
}

/**
 * Yields every page that moved on, also one from which everything was filtered out; ends when `signal` aborts.
 * Throws a fault that no other try can mend.
 */
export async function* tail(store: EventStore, options: TailOptions): AsyncGenerator<LogPage> {
  const { signal, filter, limit = 1_000, idleMilliseconds = 250, onFault } = options;
  const bell = doorbell(store, signal);
  let after = options.after;
  const read = (): Promise<LogPage> => {
    bell.reset();
    return store.readLog(after, { ...filter, limit });
  };
  let ahead: Promise<LogPage> | undefined;
  try {
    while (!signal.aborted) {
      let page: LogPage;
      try {
        page = await (ahead ?? read());
        ahead = undefined;
      } catch (error) {
        ahead = undefined;
        if (signal.aborted) return;
        if (onFault === undefined || !(error instanceof Fault) || error.permanent) throw error;
        onFault(error);
        await bell.quiet(idleMilliseconds);
        continue;
      }
      if (page.next > after) {
        after = page.next;
        if (page.next < page.highWater) {
          // There is more: Postgres reads on while this page is worked on. A fault is met when its turn comes.
          ahead = read();
          ahead.catch(() => undefined);
          // The pool sends in a later tick, which the work on this page would hold up: it must be on its way first.
          await new Promise((resolve) => setImmediate(resolve));
        }
        yield page;
      }
      if (page.next >= page.highWater) await bell.rung(idleMilliseconds);
    }
  } finally {
    bell.remove();
  }
}

/** Rings on an append of this process, and on the end. A ring between `reset` and `rung` is not lost. */
function doorbell(store: EventStore, signal: AbortSignal) {
  let rung = false;
  let wake: (() => void) | undefined;
  const ring = (): void => {
    rung = true;
    wake?.();
  };
  const unsubscribe = store.onAppended(ring);
  signal.addEventListener('abort', ring);

  const sleep = (milliseconds: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  return {
    reset: (): void => {
      rung = signal.aborted;
    },
    rung: async (atMost: number): Promise<void> => {
      if (!rung) await sleep(atMost);
    },
    /** The whole time, whoever rings, unless it is the end. */
    quiet: async (milliseconds: number): Promise<void> => {
      for (const end = Date.now() + milliseconds; !signal.aborted && Date.now() < end; ) {
        await sleep(end - Date.now());
      }
    },
    remove: (): void => {
      unsubscribe();
      signal.removeEventListener('abort', ring);
    },
  };
}

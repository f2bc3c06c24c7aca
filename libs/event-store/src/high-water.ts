/**
 * The high water of the log: the position at and below which everything is visible, for good.
 * Positions are taken in one order and committed in another, so the newest visible position proves nothing about those
 * below it. The barrier does: it waits until every append that holds a position has ended (sql/0001-log.sql, high_water).
 * Here its cost is bounded: one barrier at a time per process, whatever the number of readers.
 */
import { setTimeout as pause } from 'node:timers/promises';

const TRIES = 4;
/** Between two tries: appends that queued behind the barrier get through. */
const PAUSE_MILLISECONDS = 25;

export interface HighWater {
  /** The highest one seen so far: true, but perhaps no longer the newest. */
  readonly known: number;
  /** One that covers everything committed before the call, unless an append hangs: then the one known. */
  ask(): Promise<number>;
}

/** `barrier` answers undefined when it did not get through in its time; it rejects when the log is another one than before. */
export function highWaterOf(barrier: () => Promise<number | undefined>): HighWater {
  let known = 0;
  let running: Promise<number> | undefined;
  let next: Promise<number> | undefined;

  const run = async (): Promise<number> => {
    for (let tries = 1; ; tries += 1) {
      const answer = await barrier();
      if (answer !== undefined) known = Math.max(known, answer);
      if (answer !== undefined || tries === TRIES) return known;
      await pause(PAUSE_MILLISECONDS);
    }
  };
  const start = (): Promise<number> => {
    const mine = run().finally(() => {
      if (running === mine) running = undefined;
    });
    running = mine;
    return mine;
  };

  return {
    get known() {
      return known;
    },
    ask() {
      if (running === undefined) return start();
      // The one that runs may have looked before what this caller must see was committed. All who come now share the next.
      next ??= running
        .catch(() => undefined)
        .then(() => {
          next = undefined;
          return start();
        });
      return next;
    },
  };
}

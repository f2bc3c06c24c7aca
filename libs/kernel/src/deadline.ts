import { Fault } from './fault.ts';

/**
 * Waits for `work`, but no longer than `milliseconds`: every wait has a time-out. The signal given to `work` aborts
 * when the time is up, so that the work can give back what it holds.
 * Throws a retryable Fault with code `TimedOut` that names `what`.
 */
export async function withDeadline<T>(
  what: string,
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const fault = new Fault(`${what} took longer than ${milliseconds} ms`, { code: 'TimedOut' });
      controller.abort(fault);
      reject(fault);
    }, milliseconds);
  });
  try {
    return await Promise.race([work(controller.signal), timeUp]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks `probe` again and again until it answers something other than undefined, at most for `milliseconds`.
 * For conditions that cannot be awaited (a port that opens, a row that appears).
 */
export async function eventually<T>(
  what: string,
  milliseconds: number,
  probe: () => Promise<T | undefined> | T | undefined,
  intervalMilliseconds = 25,
): Promise<T> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() >= end)
      throw new Fault(`${what} did not happen within ${milliseconds} ms`, { code: 'TimedOut' });
    await new Promise((resolve) => setTimeout(resolve, intervalMilliseconds));
  }
}

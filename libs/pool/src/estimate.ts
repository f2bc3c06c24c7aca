/**
 * When runs that wait would start: what child jobs took lately, against what is left of the runs before. Pure. It takes the runs at work
 * to share the host evenly, and each that ends to let in the next; what is still to come (retries, other speeds, who is more urgent) it
 * cannot know, and where there is nothing to go by it says so.
 */
import type { Pool, Run } from './pool-state.ts';

/** What was gone through lately: bytes of disk (holes and unchanged parts too, which the plan's portions have as well) in time at a port. */
export interface Pace {
  readonly bytes: number;
  readonly portMilliseconds: number;
}

export const noPace: Pace = { bytes: 0, portMilliseconds: 0 };
/** What counts of it beside a child job that ends now. */
const OLD_SHARE = 0.9;

export const paceWith = (pace: Pace, bytes: number, portMilliseconds: number): Pace => ({
  bytes: pace.bytes * OLD_SHARE + bytes,
  portMilliseconds: pace.portMilliseconds * OLD_SHARE + portMilliseconds,
});

export interface Start {
  readonly seconds: number | null;
  readonly estimate: string;
}

/** `line`: all that wait, in the order in which they would start. */
export function startsIn(pool: Pool, line: readonly Run[]): (run: Run) => Start {
  const { bytes, portMilliseconds } = pool.pace;
  const unknown = (estimate: string) => (): Start => ({ seconds: null, estimate });
  if (bytes === 0 || portMilliseconds === 0)
    return unknown('unknown: no child job has ended at this host yet');
  const working = [...pool.runs.values()].filter(({ leased }) => leased > 0);
  if (working.length === 0) return unknown('unknown: nothing moves at this host now');
  const ports = [...pool.proxies.values()].reduce((sum, { holders }) => sum + holders.size, 0);
  /** Of each run at work. */
  const bytesPerSecond = ((bytes / portMilliseconds) * 1000 * ports) / working.length;
  // Ends in bytes that each has gone through by then: evenly shared, they go by what is left.
  const ends = working.map(leftOf).sort((a, b) => a - b);
  const starts = new Map<Run, number>();
  for (const run of line) {
    const end = ends.shift() ?? 0;
    starts.set(run, end / bytesPerSecond);
    insertNumber(ends, end + leftOf(run));
  }
  return (run) => {
    const seconds = Math.round(starts.get(run) ?? 0);
    return { seconds, estimate: `in about ${spoken(seconds)}, at the pace of the last child jobs` };
  };
}

const leftOf = ({ jobs }: Run): number =>
  [...jobs.values()].reduce((sum, { state, length }) => sum + (state === 'done' ? 0 : length), 0);

function insertNumber(sorted: number[], value: number): void {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  sorted.splice(low, 0, value);
}

function spoken(seconds: number): string {
  if (seconds < 90) return `${seconds} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

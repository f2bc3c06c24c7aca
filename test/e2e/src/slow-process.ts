/** A process that runs for a part of the time alone, as on a machine that has too much to do. */

/** One in so many slices is its own. */
const SLICES = 4;
const SLICE_MILLISECONDS = 30;

/** The answer lets it run on. */
export function slowDown(pid: number): () => void {
  let slice = 0;
  const timer = setInterval(() => {
    slice = (slice + 1) % SLICES;
    if (slice <= 1) process.kill(pid, slice === 0 ? 'SIGCONT' : 'SIGSTOP');
  }, SLICE_MILLISECONDS);
  return () => {
    clearInterval(timer);
    process.kill(pid, 'SIGCONT');
  };
}

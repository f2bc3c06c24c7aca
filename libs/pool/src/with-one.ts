/** Changes one thing of the pool where it is there: an event may come after its thing is gone, and then changes nothing. */
import type { Job, Pool, PooledProxy, Run } from './pool-state.ts';

export const withRun = (pool: Pool, runId: string, change: (run: Run) => void): void => {
  const run = pool.runs.get(runId);
  if (run !== undefined) change(run);
};
export const withProxy = (pool: Pool, proxyId: string, change: (proxy: PooledProxy) => void): void => {
  const proxy = pool.proxies.get(proxyId);
  if (proxy !== undefined) change(proxy);
};
export const withJob = (
  pool: Pool,
  runId: string,
  childJobId: string,
  change: (job: Job, run: Run) => void,
): void => {
  const run = pool.runs.get(runId);
  const job = run?.jobs.get(childJobId);
  if (run !== undefined && job !== undefined) change(job, run);
};

/** A run as it begins, and how many of its child jobs wait or are not done, disk by disk. */
import type { Order, Run } from './pool-state.ts';

export const openRun = (order: Order, number: number): Run => ({
  order,
  number,
  hold: 'none',
  takenAt: null,
  holdsLost: 0,
  disks: [],
  storages: [],
  moved: new Map(),
  targets: new Map(),
  fill: { mounts: undefined, due: false, filledBytes: 0, interruptions: 0 },
  chosen: undefined,
  shortfall: null,
  choicesInRow: 0,
  announced: false,
  outcome: undefined,
  jobs: new Map(
    order.childJobs.map((job) => [
      job.childJobId,
      { ...job, state: 'waiting', attempts: 0, interruptions: 0, interruptedOn: undefined, lease: undefined },
    ]),
  ),
  unexplained: new Map(),
  waiting: jobsPerDisk(order),
  unfinished: jobsPerDisk(order),
  leased: 0,
  portMilliseconds: 0,
  servedBy: new Set(),
  at: new Set(),
  paused: false,
  orders: 0,
  leaving: new Set(),
});

function jobsPerDisk({ childJobs }: Order): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { diskId } of childJobs) countJobs(counts, diskId, 1);
  return counts;
}

/** A disk without any is not in the map. */
export function countJobs(jobs: Map<string, number>, diskId: string, change: number): void {
  const now = (jobs.get(diskId) ?? 0) + change;
  if (now === 0) jobs.delete(diskId);
  else jobs.set(diskId, now);
}

/**
 * How jobs that run at once share a capacity: all get the same, but none more than it can take, and what one cannot take goes to the
 * others (max-min fairness).
 */
export interface Demand {
  /** Jobs of this kind. */
  readonly jobs: number;
  /** The most that one of them can take. */
  readonly rateMax: number;
}

/** The rate that no job gets more than, so that all together fit; infinite when they fit as they are. */
export function fairRate(demands: readonly Demand[], capacity: number): number {
  if (demands.reduce((sum, { jobs, rateMax }) => sum + jobs * rateMax, 0) <= capacity)
    return Number.POSITIVE_INFINITY;
  let left = capacity;
  let jobs = demands.reduce((sum, demand) => sum + demand.jobs, 0);
  for (const demand of [...demands].sort((a, b) => a.rateMax - b.rateMax)) {
    if (demand.rateMax * jobs >= left) return left / jobs;
    left -= demand.rateMax * demand.jobs;
    jobs -= demand.jobs;
  }
  return Number.POSITIVE_INFINITY;
}

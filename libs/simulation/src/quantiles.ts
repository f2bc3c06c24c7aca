/** Many numbers said in few. */
export interface Quantiles {
  readonly count: number;
  readonly mean: number;
  readonly median: number;
  /** 95 of 100 are at most that. */
  readonly p95: number;
  readonly longest: number;
}

export function quantilesOf(values: readonly number[]): Quantiles {
  const sorted = Float64Array.from(values).sort();
  const count = sorted.length;
  if (count === 0) return { count, mean: 0, median: 0, p95: 0, longest: 0 };
  // The smallest value that at least so many are not above: one that was seen, never one in between.
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * count) - 1)] ?? 0;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / count;
  return { count, mean, median: at(0.5), p95: at(0.95), longest: at(1) };
}

const POINTS_MAX = 100;

/** How the share of those done grows with the seconds: every value where they are few, else a hundred evenly of their number. */
export function shareBy(
  values: readonly number[],
  outOf: number,
): { readonly seconds: number; readonly share: number }[] {
  const sorted = Float64Array.from(values).sort();
  const points = Math.min(sorted.length, POINTS_MAX);
  return Array.from({ length: points }, (_, index) => {
    const last = Math.ceil(((index + 1) / points) * sorted.length) - 1;
    return { seconds: sorted[last] ?? 0, share: (last + 1) / outOf };
  });
}

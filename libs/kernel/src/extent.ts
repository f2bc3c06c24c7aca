import { invariant } from './invariant.ts';

/** A half-open range of bytes: [offset, offset + length). Units: bytes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

export const extentEnd = (extent: Extent): number => extent.offset + extent.length;

/** The part that two extents share, or undefined when they only touch or lie apart. */
export function intersection(a: Extent, b: Extent): Extent | undefined {
  const offset = Math.max(a.offset, b.offset);
  const length = Math.min(extentEnd(a), extentEnd(b)) - offset;
  return length > 0 ? { offset, length } : undefined;
}

/** Sorted, non-empty, non-overlapping, with touching neighbours joined. The form every function here returns. */
export function normalised(extents: Iterable<Extent>): Extent[] {
  const sorted = [...extents].filter((extent) => extent.length > 0).sort((a, b) => a.offset - b.offset);
  const result: { offset: number; length: number }[] = [];
  for (const extent of sorted) {
    invariant(extent.offset >= 0, `An extent starts at ${extent.offset}, before its disk`);
    const last = result.at(-1);
    if (last !== undefined && extent.offset <= extentEnd(last)) {
      last.length = Math.max(extentEnd(last), extentEnd(extent)) - last.offset;
    } else {
      result.push({ offset: extent.offset, length: extent.length });
    }
  }
  return result;
}

/** What is in `from` and in none of `taken`. Both must be normalised. */
export function subtraction(from: readonly Extent[], taken: readonly Extent[]): Extent[] {
  const result: Extent[] = [];
  let next = 0;
  for (const extent of from) {
    let offset = extent.offset;
    while (next < taken.length && extentEnd(taken[next] as Extent) <= offset) next += 1;
    for (let i = next; i < taken.length; i += 1) {
      const hole = taken[i] as Extent;
      if (hole.offset >= extentEnd(extent)) break;
      if (hole.offset > offset) result.push({ offset, length: hole.offset - offset });
      offset = Math.max(offset, extentEnd(hole));
    }
    if (offset < extentEnd(extent)) result.push({ offset, length: extentEnd(extent) - offset });
  }
  return result;
}

/** Cuts an extent at every multiple of `unit` bytes, in order, without holding them all in memory. */
export function* cutAt(extent: Extent, unit: number): Generator<Extent> {
  invariant(unit > 0, 'An extent can only be cut at a positive unit');
  for (let offset = extent.offset; offset < extentEnd(extent); ) {
    const next = Math.min(extentEnd(extent), (Math.floor(offset / unit) + 1) * unit);
    yield { offset, length: next - offset };
    offset = next;
  }
}

export const totalLength = (extents: Iterable<Extent>): number => {
  let sum = 0;
  for (const extent of extents) sum += extent.length;
  return sum;
};

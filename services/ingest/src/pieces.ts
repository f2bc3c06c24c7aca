/**
 * What is to be read of a child job's portion, piece by piece, from what the host says of the frozen disk. Pure but for
 * taking the answers as they come: nothing here grows with the disk.
 *
 * - Full: each 4 MiB slot of the grid that has any data is one piece; its parts that are known to be zero are not read. A
 *   slot without data is no piece at all: what a full does not mention is zero.
 * - Incremental: every changed run, cut at the grid, is a piece of its own length, so that exactly the changed
 *   bytes are read; a changed run that is zero now is a piece without reads. What the parent's map finds in a chunk that is known to be
 *   damaged is read as well, though unchanged: a piece for each segment of it, which is the chunk's own bytes again where it is all of it.
 */
import { CHUNK_BYTES } from '@backhaul/contracts';
import { cutAt, type Extent, extentEnd, intersection, subtraction } from '@backhaul/kernel';
import { STATE_DIRTY, STATE_ZERO, type StatusExtent } from '@backhaul/nbd';

export interface Piece extends Extent {
  /** What is to be read of it, in order; the rest is zero. */
  readonly reads: readonly Extent[];
}

/** Asks the host for the runs of a metadata context over a range. */
export type AskStatus = (context: string, range: Extent) => AsyncIterable<StatusExtent>;

export const ALLOCATION = 'base:allocation';

/** `allocation` undefined: the host cannot tell, so all of it is read. */
export async function* piecesOfFull(
  portion: Extent,
  ask: AskStatus | undefined,
  received: readonly Extent[],
): AsyncGenerator<Piece> {
  let reads: Extent[] = [];
  let slot: Extent | undefined;
  const finished = (): Piece | undefined =>
    slot !== undefined && reads.length > 0 && !covers(received, slot) ? { ...slot, reads } : undefined;
  for await (const run of ask === undefined ? [portion] : dataRuns(portion, ask)) {
    for (const part of cutAt(run, CHUNK_BYTES)) {
      const at = slotOf(part.offset, portion);
      if (slot?.offset !== at.offset) {
        const piece = finished();
        if (piece !== undefined) yield piece;
        slot = at;
        reads = [];
      }
      reads.push(part);
    }
  }
  const piece = finished();
  if (piece !== undefined) yield piece;
}

export async function* piecesOfIncremental(
  portion: Extent,
  changedContext: string,
  ask: AskStatus,
  canAskAllocation: boolean,
  received: readonly Extent[],
  damaged: readonly Extent[] = [],
): AsyncGenerator<Piece> {
  for await (const changed of ask(changedContext, portion)) {
    if ((changed.flags & STATE_DIRTY) === 0) continue;
    const runs = canAskAllocation ? ask(ALLOCATION, changed) : [{ ...changed, flags: 0 }];
    for await (const run of runs) {
      const zero = (run.flags & STATE_ZERO) !== 0;
      for (const part of zero ? [run] : cutAt(run, CHUNK_BYTES)) {
        for (const { offset, length } of subtraction([part], within(received, part))) {
          yield { offset, length, reads: zero ? [] : [{ offset, length }] };
        }
      }
    }
  }
  for (const segment of damaged) {
    for await (const run of ask(changedContext, segment)) {
      if ((run.flags & STATE_DIRTY) !== 0) continue;
      for (const part of subtraction([run], within(received, run))) {
        const reads = canAskAllocation ? await Array.fromAsync(dataRuns(part, ask)) : [part];
        yield { ...part, reads };
      }
    }
  }
}

/** Whatever is not known to be zero has to be read: a hole alone promises nothing about its contents. */
async function* dataRuns(portion: Extent, ask: AskStatus): AsyncGenerator<Extent> {
  for await (const run of ask(ALLOCATION, portion)) {
    if ((run.flags & STATE_ZERO) === 0) yield { offset: run.offset, length: run.length };
  }
}

/** The slot of the grid that holds an offset; the last one of a disk may be short. */
function slotOf(offset: number, portion: Extent): Extent {
  const start = Math.floor(offset / CHUNK_BYTES) * CHUNK_BYTES;
  return { offset: start, length: Math.min(CHUNK_BYTES, extentEnd(portion) - start) };
}

/** The extents of a sorted list that can touch `part`; binary search, because the list may be long. */
function within(sorted: readonly Extent[], part: Extent): Extent[] {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (extentEnd(sorted[middle] as Extent) <= part.offset) low = middle + 1;
    else high = middle;
  }
  const found: Extent[] = [];
  for (let i = low; i < sorted.length; i += 1) {
    const extent = sorted[i] as Extent;
    if (extent.offset >= extentEnd(part)) break;
    found.push(extent);
  }
  return found;
}

const covers = (sorted: readonly Extent[], slot: Extent): boolean =>
  within(sorted, slot).some((extent) => intersection(extent, slot)?.length === slot.length);

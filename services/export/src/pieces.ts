/**
 * What is to be done of a data stream's portion, from the map of the disk. Pure but for taking the map as it comes: nothing
 * here grows with the disk.
 */
import { type Extent, extentEnd, intersection } from '@backhaul/kernel';
import type { Segment, Segments } from '@backhaul/repository';

/** A part of a chunk, and where on the disk it belongs. */
export type Piece = Segment & { readonly digest: string };

export const isPiece = (segment: Segment): segment is Piece => segment.digest !== null;

/** The segments of a portion, cut to it. */
export async function* within(portion: Extent, segments: Segments): AsyncGenerator<Segment> {
  for await (const segment of segments) {
    if (segment.offset >= extentEnd(portion)) return;
    const inside = intersection(segment, portion);
    if (inside === undefined) continue;
    yield { ...segment, ...inside, chunkOffset: segment.chunkOffset + (inside.offset - segment.offset) };
  }
}

/** Every which piece is read back when not all are. */
const SAMPLE = 16;

/** What is read back: all, or the first, the last and every 16th in between. The same for every attempt. */
export async function* sampleOf(segments: Segments, all: boolean): AsyncGenerator<Piece> {
  let index = 0;
  let last: Piece | undefined;
  for await (const segment of segments) {
    if (!isPiece(segment)) continue;
    const wanted = all || index % SAMPLE === 0;
    if (wanted) yield segment;
    last = wanted ? undefined : segment;
    index += 1;
  }
  if (last !== undefined) yield last;
}

/** What was confirmed, asked in any order. `extents` are normalised. */
export class Confirmed {
  readonly #extents: readonly Extent[];

  constructor(extents: readonly Extent[]) {
    this.#extents = extents;
  }

  /** All of the piece. Binary search, because there may be many. */
  covers(piece: Extent): boolean {
    let low = 0;
    let high = this.#extents.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (extentEnd(this.#extents[middle] as Extent) <= piece.offset) low = middle + 1;
      else high = middle;
    }
    const extent = this.#extents[low];
    return extent !== undefined && intersection(extent, piece)?.length === piece.length;
  }
}

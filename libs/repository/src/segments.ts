/**
 * Lists of segments: what every list must be, and the one form it is written in. Everything streams.
 */
import { Fault } from '@backhaul/kernel';
import { CHUNK_BYTES_MAX, DIGEST_PATTERN } from './format/bounds.ts';
import type { Segment, Segments } from './repository.ts';

/**
 * The same disk in its one canonical form: neighbours that are zero, or that continue each other in the same chunk, are
 * one segment. Throws a permanent Fault where the list does not cover [0, sizeBytes) in order.
 */
export async function* canonical(sizeBytes: number, segments: Segments): AsyncGenerator<Segment> {
  let last: Segment | undefined;
  let end = 0;
  for await (const segment of segments) {
    checkPlace(segment);
    if (segment.digest !== null && !DIGEST_PATTERN.test(segment.digest)) {
      throw wrong(`names "${segment.digest}", which is no digest, at ${segment.offset}`);
    }
    if (segment.offset !== end) {
      throw wrong(segment.offset > end ? `leaves a gap at ${end}` : `goes back to ${segment.offset}`);
    }
    end += segment.length;
    if (end > sizeBytes) throw wrong(`ends at ${end}, beyond the disk's ${sizeBytes} bytes`);
    if (last !== undefined && continues(last, segment)) {
      last = { ...last, length: last.length + segment.length };
    } else {
      if (last !== undefined) yield last;
      last = segment;
    }
  }
  if (end !== sizeBytes) throw wrong(`ends at ${end}, before the disk's ${sizeBytes} bytes`);
  if (last !== undefined) yield last;
}

const continues = (before: Segment, after: Segment): boolean =>
  before.digest === after.digest &&
  (before.digest === null || before.chunkOffset + before.length === after.chunkOffset);

/** Throws a permanent Fault where the segment takes bytes that cannot be. */
export function checkPlace(segment: Segment): void {
  const { offset, length, digest, chunkOffset } = segment;
  const possible =
    Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(offset + length) && length > 0;
  if (!possible) throw wrong(`has an impossible segment of ${length} bytes at ${offset}`);
  if (digest === null) return;
  if (!Number.isSafeInteger(chunkOffset) || chunkOffset < 0 || chunkOffset + length > CHUNK_BYTES_MAX) {
    throw wrong(`takes ${length} bytes at ${chunkOffset} of a chunk, at ${offset}`);
  }
}

const wrong = (what: string): Fault => new Fault(`the list of segments ${what}`, { permanent: true });

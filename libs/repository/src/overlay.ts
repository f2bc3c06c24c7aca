/**
 * A complete segment map of a disk, made of its parent's and of what was read since: the reason why any restore point
 * restores alone. Pure, and streaming on both sides: memory does not grow with the disk.
 */
import { Fault, invariant } from '@backhaul/kernel';
import type { Segment, Segments } from './repository.ts';
import { checkPlace } from './segments.ts';

/**
 * The segments of a disk of `sizeBytes`: `changes` where there are any, else what `parent` has there, else zero. Both
 * must be sorted and free of overlaps; the parent may be of another size (the disk was shrunk, or grew: its new end
 * is zero) or empty, for a full. Throws a permanent Fault when a list is out of order or a change lies beyond the disk.
 */
export async function* overlay(
  parent: Segments,
  changes: Segments,
  sizeBytes: number,
): AsyncGenerator<Segment> {
  const below = new Cursor(parent, 'the parent');
  const above = new Cursor(changes, 'the changes');
  let offset = 0;
  try {
    while (offset < sizeBytes) {
      if (above.isBehind(offset)) await above.advance(offset);
      const change = above.at(offset);
      if (change?.offset === offset) {
        if (change.offset + change.length > sizeBytes) {
          throw new Fault(`A change at ${change.offset} ends beyond the disk's ${sizeBytes} bytes`, {
            permanent: true,
          });
        }
        yield change;
        offset += change.length;
        continue;
      }
      const end = Math.min(change?.offset ?? sizeBytes, sizeBytes);
      if (below.isBehind(offset)) await below.advance(offset);
      const kept = below.at(offset);
      const piece =
        kept?.offset === offset
          ? { ...kept, length: Math.min(kept.length, end - offset) }
          : zero(offset, Math.min(kept?.offset ?? end, end) - offset);
      invariant(piece.length > 0, 'An overlay must move on');
      yield piece;
      offset += piece.length;
    }
    await above.advance(offset);
    const beyond = above.at(offset);
    if (beyond !== undefined) {
      throw new Fault(`A change at ${beyond.offset} lies beyond the disk's ${sizeBytes} bytes`, {
        permanent: true,
      });
    }
  } finally {
    await Promise.all([below.close(), above.close()]);
  }
}

const zero = (offset: number, length: number): Segment => ({ offset, length, digest: null, chunkOffset: 0 });

/** Walks a sorted list of segments forward. */
class Cursor {
  readonly #what: string;
  readonly #segments: AsyncIterator<Segment> | Iterator<Segment>;
  #current: Segment | undefined;
  #ended = false;
  #end = 0;

  constructor(segments: Segments, what: string) {
    this.#what = what;
    this.#segments =
      Symbol.asyncIterator in segments ? segments[Symbol.asyncIterator]() : segments[Symbol.iterator]();
  }

  /** Whether `advance` has to run before `at`. Asked first, because waiting for nothing costs more than all the rest. */
  isBehind(offset: number): boolean {
    const current = this.#current;
    return !this.#ended && (current === undefined || current.offset + current.length <= offset);
  }

  async advance(offset: number): Promise<void> {
    while (this.isBehind(offset)) {
      const next = await this.#segments.next();
      this.#ended = next.done === true;
      this.#current = next.done === true ? undefined : this.#ordered(next.value);
    }
  }

  /** The list from `offset` on: the first segment that ends after it, without what of it lies before. */
  at(offset: number): Segment | undefined {
    const current = this.#current;
    if (current === undefined || current.offset >= offset) return current;
    const skipped = offset - current.offset;
    const chunkOffset = current.digest === null ? 0 : current.chunkOffset + skipped;
    return { offset, length: current.length - skipped, digest: current.digest, chunkOffset };
  }

  async close(): Promise<void> {
    await this.#segments.return?.();
  }

  #ordered(segment: Segment): Segment {
    checkPlace(segment);
    if (segment.offset < this.#end) {
      throw new Fault(`In ${this.#what}, the segment at ${segment.offset} begins before ${this.#end}`, {
        permanent: true,
      });
    }
    this.#end = segment.offset + segment.length;
    return segment;
  }
}

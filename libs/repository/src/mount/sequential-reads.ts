/**
 * Notices who reads on and on, and says what to fetch before it is asked for. Several readers of one disk are told apart by where they are:
 * a copy over four connections is four of them. Pure.
 */
import { type Extent, extentEnd, KiB, MiB } from '@backhaul/kernel';

/** Requests in flight arrive a little out of order: so far from where a reader was, it is still the same one. */
const SLACK_BYTES = 2 * MiB;
/** Two requests behind each other may be chance. */
const TRUSTED_BYTES = 256 * KiB;
/** Four chunks: two threads unpack while the reader is busy with what they did before. */
const AHEAD_BYTES = 16 * MiB;
const READERS_MAX = 16;

interface Reader {
  /** Where it goes on. */
  next: number;
  /** What it has read behind each other. */
  bytes: number;
  /** Up to here was fetched. */
  fetched: number;
}

export class SequentialReads {
  readonly #sizeBytes: number;
  /** The one that read last is last. */
  readonly #readers: Reader[] = [];

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** A range was asked for. Answers what to fetch now, if anything. */
  note(range: Extent): Extent | undefined {
    const reader = this.#readerAt(range);
    reader.bytes += range.length;
    reader.next = Math.max(reader.next, extentEnd(range));
    if (reader.bytes < TRUSTED_BYTES || reader.bytes === range.length) return undefined;
    const from = Math.max(reader.fetched, reader.next);
    const to = Math.min(this.#sizeBytes, reader.next + Math.min(AHEAD_BYTES, 4 * reader.bytes));
    // In pieces worth the asking, and not the same again for every request.
    const least = to === this.#sizeBytes ? 1 : Math.min(AHEAD_BYTES / 4, reader.bytes);
    if (to - from < least) return undefined;
    reader.fetched = to;
    return { offset: from, length: to - from };
  }

  #readerAt({ offset }: Extent): Reader {
    const at = this.#readers.findIndex(
      ({ next }) => offset >= next - SLACK_BYTES && offset <= next + SLACK_BYTES,
    );
    const [known] = at < 0 ? [] : this.#readers.splice(at, 1);
    const reader = known ?? { next: offset, bytes: 0, fetched: 0 };
    this.#readers.push(reader);
    if (this.#readers.length > READERS_MAX) this.#readers.shift();
    return reader;
  }
}

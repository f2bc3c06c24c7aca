/**
 * One walk over a segment map file, in pieces of any size, that ends with an index of it: where each page of records begins in the file and
 * on the disk, and the page's own digest, so that it can be read again later, alone, and be trusted. Pure. It looks at the records
 * and steps over the digests of the chunks: a map of 64 MiB takes some tenths of a second, and its index 64 KiB of memory.
 */
import { createHash, type Hash } from 'node:crypto';
import { KiB } from '@backhaul/kernel';
import {
  DIGEST_BYTES,
  type MapRecord,
  mapFault,
  RECORD_BYTES,
  readHeader,
  readRecord,
} from '../format/map-records.ts';

/** Whole records of a map file. */
export interface MapPage {
  /** In the file. */
  readonly position: number;
  readonly length: number;
  readonly digest: string;
  /** Of its first segment, on the disk. */
  readonly offset: number;
}

/** A page ends with the record that fills it: with a run of 4,096 chunks it has up to three times as much. */
const PAGE_BYTES = 64 * KiB;

export class MapScan {
  readonly #sizeBytes: number;
  readonly #pages: MapPage[] = [];
  readonly #whole = createHash('sha256');
  #page: { position: number; offset: number; digest: Hash } | undefined;
  /** The beginning of the header or of a record, which are of one length, of which the rest has not come. */
  readonly #head = Buffer.alloc(RECORD_BYTES);
  #headFilled = 0;
  #digestsLeft = 0;
  #position = 0;
  #offset = 0;
  #segments = 0;
  #state: 'header' | 'records' | 'ended' = 'header';

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  /** Throws a permanent Fault with the reason where the map is not as the format says. */
  accept(piece: Uint8Array): void {
    this.#whole.update(piece);
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    let pageBegan = 0;
    for (let at = 0; at < bytes.length; ) {
      if (this.#hasEnded()) throw mapFault('goes on after its end');
      const wanted = this.#digestsLeft > 0 ? this.#digestsLeft : RECORD_BYTES - this.#headFilled;
      const taken = Math.min(wanted, bytes.length - at);
      if (this.#digestsLeft > 0) this.#digestsLeft -= taken;
      else {
        bytes.copy(this.#head, this.#headFilled, at, at + taken);
        this.#headFilled += taken;
      }
      at += taken;
      this.#position += taken;
      if (this.#headFilled === RECORD_BYTES) {
        this.#headFilled = 0;
        if (this.#state === 'header') {
          readHeader(this.#head, this.#sizeBytes);
          this.#state = 'records';
          this.#page = { position: this.#position, offset: 0, digest: createHash('sha256') };
          pageBegan = at;
        } else this.#record(readRecord(this.#head, 0, this.#offset, this.#sizeBytes));
      }
      if (this.#page !== undefined && this.#digestsLeft === 0 && this.#headFilled === 0) {
        const { position, offset, digest } = this.#page;
        if (this.#position - position < PAGE_BYTES && !this.#hasEnded()) continue;
        digest.update(bytes.subarray(pageBegan, at));
        pageBegan = at;
        if (this.#position > position) {
          this.#pages.push({
            position,
            length: this.#position - position,
            offset,
            digest: digest.digest('hex'),
          });
        }
        this.#page = { position: this.#position, offset: this.#offset, digest: createHash('sha256') };
      }
    }
    this.#page?.digest.update(bytes.subarray(pageBegan));
  }

  /** The pages, when all of the file was seen. `digest` is what it is named by. */
  end(digest: string): readonly MapPage[] {
    const found = this.#whole.digest('hex');
    if (found !== digest) throw mapFault(`has digest ${found}`);
    if (!this.#hasEnded()) throw mapFault(`is cut off at offset ${this.#offset}`);
    return this.#pages;
  }

  #hasEnded(): boolean {
    return this.#state === 'ended';
  }

  #record(record: MapRecord): void {
    if (record.kind === 'end') {
      if (this.#offset !== this.#sizeBytes)
        throw mapFault(`ends at offset ${this.#offset} of ${this.#sizeBytes}`);
      if (record.segments !== this.#segments)
        throw mapFault(`has ${this.#segments} segments, not as many as written`);
      this.#state = 'ended';
      return;
    }
    this.#segments += record.count;
    this.#offset += record.count * record.length;
    this.#digestsLeft = record.kind === 'chunks' ? record.count * DIGEST_BYTES : 0;
  }
}

/**
 * A disk's segments by offset, for whoever looks here and there: the map file stays where it is, sorted as it is, and only an index of its
 * pages and the pages last used are in memory, whatever the disk. All of the map is checked against its digest first, and
 * each page again when it is read: a file that rots meanwhile is an error, and never another disk.
 */
import { createHash } from 'node:crypto';
import { invariant } from '@backhaul/kernel';
import type { Backend } from '../backend/backend.ts';
import { Recent } from '../chunks/recent.ts';
import { mapName } from '../format/bounds.ts';
import { DIGEST_BYTES, mapFault, RECORD_BYTES, readRecord } from '../format/map-records.ts';
import type { ManifestDisk, Segment, SegmentIndex } from '../repository.ts';
import { type MapPage, MapScan } from './map-scan.ts';

/** Of up to 192 KiB each. */
const PAGES_KEPT = 32;

/** Throws a Fault that says what is wrong with the map. The caller names the disk. */
export async function indexSegments(backend: Backend, disk: ManifestDisk): Promise<SegmentIndex> {
  const name = mapName(disk.mapDigest);
  const scan = new MapScan(disk.sizeBytes);
  for await (const piece of backend.stream(name)) scan.accept(piece);
  return new PagedIndex(backend, name, disk.sizeBytes, scan.end(disk.mapDigest));
}

class PagedIndex implements SegmentIndex {
  readonly #backend: Backend;
  readonly #name: string;
  readonly #sizeBytes: number;
  readonly #pages: readonly MapPage[];
  readonly #recent = new Recent<Promise<Records>>(PAGES_KEPT);

  constructor(backend: Backend, name: string, sizeBytes: number, pages: readonly MapPage[]) {
    this.#backend = backend;
    this.#name = name;
    this.#sizeBytes = sizeBytes;
    this.#pages = pages;
  }

  async find(offset: number, length: number, segmentsMax: number): Promise<Segment[]> {
    invariant(
      offset >= 0 && length > 0 && offset + length <= this.#sizeBytes,
      'Segments of the disk are asked for',
    );
    const found: Segment[] = [];
    let at = offset;
    for (let n = lastAtOrBefore(this.#pages, offset); at < offset + length; n += 1) {
      const page = this.#pages[n];
      invariant(page !== undefined, 'The pages cover the disk');
      const records = await this.#records(page);
      at = records.collect(at, offset + length, segmentsMax, found);
      if (found.length >= segmentsMax) break;
    }
    return found;
  }

  #records(page: MapPage): Promise<Records> {
    const key = String(page.position);
    const known = this.#recent.get(key);
    if (known !== undefined) return known;
    const work = this.#read(page);
    this.#recent.set(key, work);
    work.catch(() => this.#recent.delete(key));
    return work;
  }

  async #read(page: MapPage): Promise<Records> {
    const bytes = await this.#backend.getPart(this.#name, page.position, page.length);
    const digest = createHash('sha256').update(bytes).digest('hex');
    if (digest !== page.digest)
      throw mapFault(`changed since it was checked, at byte ${page.position} of ${this.#name}`);
    return new Records(bytes, page.offset, this.#sizeBytes);
  }
}

/** The records of one page, to be searched. */
class Records {
  readonly #bytes: Buffer;
  /** Where each record begins on the disk, and in the page. */
  readonly #starts: { readonly offset: number; readonly at: number }[] = [];
  readonly #sizeBytes: number;

  constructor(page: Uint8Array, pageOffset: number, sizeBytes: number) {
    this.#bytes = Buffer.from(page.buffer, page.byteOffset, page.byteLength);
    this.#sizeBytes = sizeBytes;
    let offset = pageOffset;
    for (let at = 0; at < page.length; ) {
      const record = readRecord(this.#bytes, at, offset, sizeBytes);
      if (record.kind === 'end') break;
      this.#starts.push({ offset, at });
      offset += record.count * record.length;
      at += RECORD_BYTES + (record.kind === 'chunks' ? record.count * DIGEST_BYTES : 0);
    }
  }

  /** Adds the segments of [offset, end) that are in this page, cut to it, until there are `segmentsMax`. Answers where it came to. */
  collect(offset: number, end: number, segmentsMax: number, found: Segment[]): number {
    let at = offset;
    for (let n = lastAtOrBefore(this.#starts, offset); at < end && n < this.#starts.length; n += 1) {
      const start = this.#starts[n];
      invariant(start !== undefined, 'A page has the records that it was found for');
      const record = readRecord(this.#bytes, start.at, start.offset, this.#sizeBytes);
      invariant(record.kind !== 'end', 'The end is no part of the disk');
      for (let i = Math.floor((at - start.offset) / record.length); i < record.count && at < end; i += 1) {
        if (found.length >= segmentsMax) return at;
        const skipped = at - (start.offset + i * record.length);
        const length = Math.min(record.length - skipped, end - at);
        if (record.kind === 'zero') found.push({ offset: at, length, digest: null, chunkOffset: 0 });
        else {
          const digestAt = start.at + RECORD_BYTES + i * DIGEST_BYTES;
          const digest = this.#bytes.toString('hex', digestAt, digestAt + DIGEST_BYTES);
          found.push({ offset: at, length, digest, chunkOffset: record.chunkOffset + skipped });
        }
        at += length;
      }
    }
    return at;
  }
}

/** The index of the last item that begins at `offset` or before; the first one begins at or before every offset asked for. */
function lastAtOrBefore(items: readonly { readonly offset: number }[], offset: number): number {
  let [low, high] = [0, items.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((items[middle]?.offset ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Chunks by the digest of their plain bytes. Hash first, then ask whether it is there, and compress only what is new.
 * Worker threads do what costs processor time, in memory that they share with this one; nothing is copied between them. The file
 * is written from here, asynchronously: a thread that waits for a disk compresses nothing.
 */
import { copyBytes, describeError, Fault, invariant } from '@backhaul/kernel';
import { Unanswered } from '../backend/answers.ts';
import type { Backend } from '../backend/backend.ts';
import type { DamageNotes } from '../damage-notes.ts';
import { AWAY } from '../faults.ts';
import { CHUNK_BYTES_MAX, chunkName } from '../format/bounds.ts';
import { CHUNK_FILE_BYTES_MAX } from '../format/chunk-file.ts';
import type { ChunkBuffer, HeldChunk, StoredChunk } from '../repository.ts';
import { ChunkMemory, HeldSlot, Slot } from './chunk-memory.ts';
import { Recent } from './recent.ts';
import { WorkerPool } from './worker-pool.ts';

/** Digests known to be durable, so that a repeated chunk costs no look at the disk: some 20 MiB at most. */
const KNOWN_MAX = 131_072;

export interface ChunkStoreOptions {
  readonly workers: number;
  readonly buffers: number;
  readonly zstdLevel: number;
  readonly notes: DamageNotes;
  /** Throws when the repository is not there; a number that grows when something else was put in its place (presence.ts). */
  check(): Promise<number>;
}

/** Chunks that are being written, or known to be durable, in what lay there then. */
interface Epoch {
  readonly number: number;
  readonly known: Recent<true>;
  /** By this process: a second put of the same bytes waits for the first. */
  readonly storing: Map<string, Promise<unknown>>;
}

export class ChunkStore {
  readonly #backend: Backend;
  readonly #memory: ChunkMemory;
  readonly #workers: WorkerPool;
  readonly #zstdLevel: number;
  readonly #notes: DamageNotes;
  readonly #check: () => Promise<number>;
  #epoch: Epoch = epochOf(0);

  constructor(backend: Backend, options: ChunkStoreOptions) {
    this.#backend = backend;
    this.#memory = new ChunkMemory(options.buffers);
    this.#workers = new WorkerPool(options.workers, this.#memory.memory);
    this.#zstdLevel = options.zstdLevel;
    this.#notes = options.notes;
    this.#check = options.check;
  }

  takeBuffer(): Promise<ChunkBuffer> {
    return this.#memory.take();
  }

  /** `put` for bytes that lie elsewhere: copies them. */
  async putCopy(data: Uint8Array): Promise<StoredChunk> {
    assertChunkLength(data.length);
    const buffer = await this.#memory.take();
    try {
      copyBytes(buffer.bytes, 0, data);
      return await this.put(buffer, data.length);
    } finally {
      buffer.release();
    }
  }

  async put(buffer: ChunkBuffer, length: number): Promise<StoredChunk> {
    assertChunkLength(length);
    invariant(buffer instanceof Slot && buffer.isTaken, 'A buffer is put by whoever has taken it');
    const digest = await this.#workers.run('digest', { slot: buffer.slot, length });
    return digest === null ? { digest, storedBytes: 0 } : await this.#store(digest, buffer, length);
  }

  /** Asked before and after: what was put while the repository went or came lies who knows where. */
  async #store(digest: string, buffer: Slot, length: number): Promise<StoredChunk> {
    const epoch = this.#epochOf(await this.#check());
    const { known, storing } = epoch;
    for (let other = storing.get(digest); other !== undefined; other = storing.get(digest)) {
      // When the other put fails, this one tries for itself: it has the bytes.
      await other.catch(() => undefined);
    }
    const work = this.#storeOnce(digest, buffer, length, epoch);
    storing.set(digest, work);
    try {
      const storedBytes = await work;
      known.set(digest, true);
      return { digest, storedBytes };
    } finally {
      storing.delete(digest);
    }
  }

  #epochOf(number: number): Epoch {
    if (this.#epoch.number < number) this.#epoch = epochOf(number);
    return this.#epoch;
  }

  /** Of a chunk that is noted as damaged nothing is known: this one has the bytes, and makes it whole. */
  async #storeOnce(digest: string, buffer: Slot, length: number, epoch: Epoch): Promise<number> {
    const isNoted = await this.#notes.has(digest);
    if (!isNoted && epoch.known.get(digest) === true) return 0;
    const storedBytes =
      !isNoted && (await this.#backend.has(chunkName(digest)))
        ? 0
        : await this.#write(digest, buffer, length);
    if ((await this.#check()) !== epoch.number) {
      const where = this.#backend.location;
      throw new Fault(`${where} was mounted anew while chunk ${digest} was stored there`, { code: AWAY });
    }
    if (isNoted) await this.#notes.remove(digest);
    return storedBytes;
  }

  async #write(digest: string, buffer: Slot, length: number): Promise<number> {
    const job = { slot: buffer.slot, length, level: this.#zstdLevel };
    const fileBytes = await this.#workers.run('encode', job);
    const file = buffer.file.subarray(0, fileBytes);
    await lent(buffer, this.#backend.put(chunkName(digest), [file], { pages: buffer.file }));
    return fileBytes;
  }

  async read(digest: string): Promise<Uint8Array<ArrayBuffer>> {
    const name = chunkName(digest);
    const file = await this.#backend.get(name, CHUNK_FILE_BYTES_MAX);
    if (file === undefined) throw await this.#missing(digest);
    const answer = await this.#workers.run('decode', { file, digest }, [file.buffer]);
    if ('damage' in answer) throw await this.#damaged(digest, answer.damage);
    return answer.plain;
  }

  async hold(digest: string): Promise<HeldChunk> {
    const name = chunkName(digest);
    const slot = await this.#memory.take();
    try {
      const file = slot.file.subarray(0, CHUNK_FILE_BYTES_MAX);
      const fileBytes = await lent(slot, this.#backend.getInto(name, file));
      if (fileBytes === undefined) throw await this.#missing(digest);
      const answer = await this.#workers.run('decodeInPlace', { slot: slot.slot, fileBytes, digest });
      if ('damage' in answer) throw await this.#damaged(digest, answer.damage);
      return new HeldSlot(this.#memory, slot, answer.length);
    } catch (error) {
      slot.release();
      throw error;
    }
  }

  #missing(digest: string): Promise<Fault> {
    const what = `Chunk ${digest} is missing: there is no ${chunkName(digest)} in ${this.#backend.location}`;
    return this.#noted(digest, what, 'ChunkMissing');
  }

  #damaged(digest: string, damage: string): Promise<Fault> {
    const what = `Chunk ${digest} is damaged: ${chunkName(digest)} in ${this.#backend.location}: ${damage}`;
    return this.#noted(digest, what, 'ChunkDamaged');
  }

  /** Whoever may only read tells it all the same. A folder that is not mounted has lost nothing, and takes no note. */
  async #noted(digest: string, what: string, code: string): Promise<Fault> {
    try {
      await this.#check();
      await this.#notes.add(digest, what);
      return new Fault(what, { permanent: true, code });
    } catch (error) {
      const why = describeError(error);
      return new Fault(`${what} (which could not be noted there: ${why})`, { permanent: true, code });
    }
  }

  async has(digest: string): Promise<boolean> {
    return (await this.#backend.has(chunkName(digest))) && !(await this.#notes.has(digest));
  }

  async firstMissing(digests: readonly string[]): Promise<string | undefined> {
    const missing = await this.#backend.firstMissing(digests.map(chunkName));
    return digests.find((digest) => chunkName(digest) === missing);
  }

  async close(): Promise<void> {
    this.#memory.close();
    await this.#workers.close();
  }
}

/** A call that hangs may still read or write the memory that it was given, long after nobody waits for it any more. */
async function lent<T>(slot: Slot, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof Unanswered) slot.keepUntil(error.settled);
    throw error;
  }
}

const epochOf = (number: number): Epoch => ({ number, known: new Recent(KNOWN_MAX), storing: new Map() });

function assertChunkLength(length: number): void {
  invariant(length > 0, 'A chunk is not empty');
  invariant(length <= CHUNK_BYTES_MAX, `A chunk has at most 4 MiB, not ${length} bytes`);
}

/**
 * From written to confirmed, in this order and no other: the write was answered, then every port that wrote was flushed, and only then
 * is it said in the log. A batch at a time, because a flush costs what a disk takes to sync; whoever fills a batch waits for
 * it, so that no more is written ahead than the lanes there are.
 */
import { MiB } from '@backhaul/kernel';
import type { NbdClient } from '@backhaul/nbd';
import type { Piece } from './pieces.ts';

const BATCH_BYTES = 64 * MiB;
const BATCH_PIECES = 256;
const BATCH_MILLISECONDS = 1000;

export type Flushable = Pick<NbdClient, 'flush'>;

interface Batch {
  readonly pieces: Piece[];
  readonly ports: Set<Flushable>;
  bytes: number;
}

const newBatch = (): Batch => ({ pieces: [], ports: new Set(), bytes: 0 });

export class Confirmations {
  readonly #confirm: (pieces: readonly Piece[]) => Promise<void>;
  #batch = newBatch();
  #tail: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #broken: { error: unknown } | undefined;

  /** `confirm` says it in the log; called with one batch after the other. */
  constructor(confirm: (pieces: readonly Piece[]) => Promise<void>) {
    this.#confirm = confirm;
  }

  /** The piece was written through this port. Throws when an earlier batch could not be confirmed. */
  async written(piece: Piece, port: Flushable): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken.error;
    this.#batch.pieces.push(piece);
    this.#batch.ports.add(port);
    this.#batch.bytes += piece.length;
    if (this.#batch.bytes >= BATCH_BYTES || this.#batch.pieces.length >= BATCH_PIECES) await this.all();
    else this.#timer ??= setTimeout(() => void this.all().catch(() => undefined), BATCH_MILLISECONDS);
  }

  /** Resolves when everything written before is confirmed. */
  async all(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { pieces, ports } = this.#batch;
    this.#batch = newBatch();
    this.#tail = this.#tail.then(async () => {
      if (this.#broken !== undefined) throw this.#broken.error;
      if (pieces.length === 0) return;
      await Promise.all([...ports].map((port) => port.flush()));
      await this.#confirm(pieces);
    });
    this.#tail.catch((error: unknown) => {
      this.#broken ??= { error };
    });
    await this.#tail;
  }
}

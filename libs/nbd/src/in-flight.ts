/**
 * Which requests are in flight on a connection, and which is sent next. Promises kept here:
 * - never more in flight than the window allows, in requests and in bytes;
 * - operations are sent in the order of asking, each in the order of its pieces, and cut only as they are sent;
 * - an operation is over only when none of its requests is in flight, so that its buffer is its owner's again.
 * Pure: no time, no socket.
 */

import type { Fault } from '@backhaul/kernel';
import { invariant } from '@backhaul/kernel';
import type { Piece } from './pieces.ts';
import type { Transaction } from './protocol/transactions.ts';
import { COMMAND } from './protocol/values.ts';

export interface Window {
  readonly requests: number;
  readonly bytes: number;
}

/** What one call of a client wants done, and how it is told. */
export class Operation {
  /** For faults: `Reading 4096 bytes at offset 0`. */
  readonly what: string;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly #pieces: Iterator<Piece>;
  /** Cut, but not sent: the window was full. */
  #next: Piece | undefined;
  #exhausted = false;
  #inFlight = 0;
  #error: Fault | undefined;

  constructor(
    what: string,
    pieces: Iterable<Piece>,
    settle: { readonly resolve: () => void; readonly reject: (error: Error) => void },
  ) {
    this.what = what;
    this.resolve = settle.resolve;
    this.reject = settle.reject;
    this.#pieces = pieces[Symbol.iterator]();
  }

  /** The next piece to send; undefined when there is none left. The same one until it is sent. */
  get next(): Piece | undefined {
    if (this.#next === undefined && !this.#exhausted) {
      const cut = this.#pieces.next();
      if (cut.done === true) this.#exhausted = true;
      else this.#next = cut.value;
    }
    return this.#next;
  }

  get isOver(): boolean {
    return this.#exhausted && this.#inFlight === 0;
  }

  /** The first error that the server reported. */
  get error(): Fault | undefined {
    return this.#error;
  }

  sent(): void {
    this.#next = undefined;
    this.#inFlight += 1;
  }

  /** After an error nothing more is sent: the rest would be read for nobody. */
  answered(error: Fault | undefined): void {
    this.#inFlight -= 1;
    if (error === undefined) return;
    this.#error ??= error;
    this.#next = undefined;
    this.#exhausted = true;
  }
}

interface Entry {
  readonly piece: Piece;
  readonly operation: Operation;
}

const HANDLES = 2 ** 32;

export class InFlight {
  readonly #window: Window;
  readonly #over: (operation: Operation) => void;
  /** By handle, in the order of sending. */
  readonly #entries = new Map<number, Entry>();
  /** Operations with something left to send, as far as is known; the first one sends. */
  readonly #queue: Operation[] = [];
  #bytes = 0;
  #nextHandle = 1;

  /** `over` is told of every operation that ended, by all its replies or by an error. */
  constructor(window: Window, over: (operation: Operation) => void) {
    this.#window = window;
    this.#over = over;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(handle: number): Transaction | undefined {
    return this.#entries.get(handle)?.piece.transaction;
  }

  /** The one that has waited longest. */
  get oldest(): Transaction | undefined {
    return this.#entries.values().next().value?.piece.transaction;
  }

  enqueue(operation: Operation): void {
    this.#queue.push(operation);
  }

  /** The next piece that fits into the window, from now on in flight under its handle. */
  takeNext(): { readonly handle: number; readonly piece: Piece } | undefined {
    for (let operation = this.#queue[0]; operation !== undefined; operation = this.#queue[0]) {
      const piece = operation.next;
      if (piece === undefined) {
        this.#queue.shift();
        // With requests in flight its last answer ends it; after an error its end may have been told already.
        if (operation.isOver && operation.error === undefined) this.#over(operation);
        continue;
      }
      const fits =
        this.#entries.size < this.#window.requests && this.#bytes + payloadBytes(piece) <= this.#window.bytes;
      // A request larger than the whole window travels alone.
      if (!fits && this.#entries.size > 0) return undefined;
      operation.sent();
      this.#bytes += payloadBytes(piece);
      const handle = this.#freeHandle();
      this.#entries.set(handle, { piece, operation });
      return { handle, piece };
    }
    return undefined;
  }

  /** The reply of this request is complete: its place in the window is free. */
  settle(handle: number): void {
    const entry = this.#entries.get(handle);
    invariant(entry !== undefined, 'Only a request in flight can be settled');
    this.#entries.delete(handle);
    this.#bytes -= payloadBytes(entry.piece);
    const { error } = entry.piece.transaction;
    if (error === undefined) entry.piece.succeeded?.();
    entry.operation.answered(error);
    if (entry.operation.isOver) this.#over(entry.operation);
  }

  /** The connection is gone: nothing is answered any more. */
  clear(): void {
    this.#entries.clear();
    this.#queue.length = 0;
    this.#bytes = 0;
  }

  #freeHandle(): number {
    while (this.#entries.has(this.#nextHandle)) this.#nextHandle = (this.#nextHandle + 1) % HANDLES;
    const handle = this.#nextHandle;
    this.#nextHandle = (handle + 1) % HANDLES;
    return handle;
  }
}

/** What a request holds of the window: the bytes that travel because of it. */
function payloadBytes(piece: Piece): number {
  const { command, length } = piece.transaction.request;
  return command === COMMAND.read || command === COMMAND.write ? length : 0;
}

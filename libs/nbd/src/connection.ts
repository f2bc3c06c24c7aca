/**
 * The transmission phase of one connection: which requests are in flight, what each of them waits for, and what happens to all
 * of them when the connection fails. Promises kept here:
 * - never more in flight than the window allows, in requests and in bytes;
 * - every request ends: by its reply, by the time-out, or with the connection;
 * - an operation is over only when none of its requests is in flight, so that its buffer is its owner's again.
 */
import { Fault, invariant } from '@backhaul/kernel';
import type { Piece } from './pieces.ts';
import { Feed } from './protocol/machine.ts';
import { type Progress, replies, type Settled } from './protocol/replies.ts';
import { encodeDisconnect, encodeRequest, REQUEST_BYTES, requestLine } from './protocol/requests.ts';
import { COMMAND } from './protocol/values.ts';
import type { Wire } from './wire.ts';

export interface Window {
  readonly requests: number;
  readonly bytes: number;
}

interface Operation {
  readonly what: string;
  readonly pieces: Iterator<Piece>;
  readonly resolve: () => void;
  readonly reject: (fault: Fault) => void;
  /** Cut, but not sent: the window was full. */
  next: Piece | undefined;
  inFlight: number;
  exhausted: boolean;
  error: Fault | undefined;
}

interface InFlight {
  readonly piece: Piece;
  readonly operation: Operation;
}

const GOODBYE_MILLISECONDS = 1000;
const HANDLES = 2 ** 32;

export class Connection {
  readonly #wire: Wire;
  readonly #name: string;
  readonly #window: Window;
  readonly #requestMilliseconds: number;
  readonly #feed: Feed<never, Settled | Progress>;
  /** By handle, in the order of sending. */
  readonly #inFlight = new Map<number, InFlight>();
  /** Operations with requests still to send; the first one sends. */
  readonly #queue: Operation[] = [];
  readonly #unfinished = new Set<Operation>();
  #bytesInFlight = 0;
  #nextHandle = 1;
  #failure: Fault | undefined;
  #watch: NodeJS.Timeout | undefined;
  /** When the oldest request last made progress, or became the oldest. */
  #aliveAt = 0;
  /** The request whose reply is arriving. */
  #receiving: Progress['progress'] | undefined;

  /** `name` of the export and endpoint, for faults. The handshake is over. */
  constructor(
    wire: Wire,
    name: string,
    options: { structured: boolean; window: Window; requestMilliseconds: number },
  ) {
    this.#wire = wire;
    this.#name = name;
    this.#window = options.window;
    this.#requestMilliseconds = options.requestMilliseconds;
    const pending = { get: (handle: number) => this.#inFlight.get(handle)?.piece.transaction };
    this.#feed = new Feed(replies(pending, options.structured), (effect) => {
      if ('settled' in effect) this.#settled(effect);
      else this.#progressed(effect);
    });
    this.#feed.start();
    wire.listen({
      bytes: (bytes) => this.#accept(bytes),
      drained: () => this.#pump(),
      closed: (cause) =>
        this.fail(new Fault('The server closed the connection', { cause, code: 'ConnectionLost' })),
    });
  }

  /** Sends all pieces, in order, as the window allows. Resolves when every one has succeeded. */
  run(what: string, pieces: Iterable<Piece>): Promise<void> {
    return new Promise((resolve, reject) => {
      const operation: Operation = {
        what,
        pieces: pieces[Symbol.iterator](),
        resolve,
        reject,
        next: undefined,
        inFlight: 0,
        exhausted: false,
        error: undefined,
      };
      if (this.#failure !== undefined) {
        reject(this.#faultOf(operation, this.#failure));
        return;
      }
      this.#unfinished.add(operation);
      this.#queue.push(operation);
      this.#pump();
    });
  }

  /** Ends the connection and everything that waits for it. The first reason stays. */
  fail(cause: Fault): void {
    if (this.#failure !== undefined) return;
    this.#failAll(cause);
    this.#wire.destroy();
  }

  async close(): Promise<void> {
    // "A client SHOULD wait until there are no inflight requests": with some, no polite goodbye is possible.
    const polite = this.#failure === undefined && this.#inFlight.size === 0;
    if (polite) this.#wire.write([encodeDisconnect()]);
    else this.#wire.destroy();
    if (this.#failure === undefined)
      this.#failAll(new Fault('The connection was closed by this side', { code: 'Closed' }));
    await this.#wire.end(GOODBYE_MILLISECONDS);
  }

  #failAll(cause: Fault): void {
    this.#failure = cause;
    clearTimeout(this.#watch);
    this.#inFlight.clear();
    this.#queue.length = 0;
    for (const operation of this.#unfinished) operation.reject(this.#faultOf(operation, cause));
    this.#unfinished.clear();
  }

  #accept(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    const oldest = this.#oldest;
    if (oldest !== undefined && this.#receiving === oldest.piece.transaction)
      this.#aliveAt = performance.now();
    try {
      this.#feed.accept(bytes);
    } catch (error) {
      // Only Faults: anything else is a bug of ours, and nothing catches those.
      if (!(error instanceof Fault)) throw error;
      this.fail(error);
      return;
    }
    this.#pump();
  }

  #progressed({ progress }: Progress): void {
    this.#receiving = progress;
    if (progress === this.#oldest?.piece.transaction) this.#aliveAt = performance.now();
  }

  #settled({ settled, handle }: Settled): void {
    const entry = this.#inFlight.get(handle);
    invariant(entry?.piece.transaction === settled, 'A reply settles the request that it answers');
    if (entry === this.#oldest) this.#aliveAt = performance.now();
    this.#inFlight.delete(handle);
    this.#bytesInFlight -= payloadBytes(entry.piece);
    this.#receiving = undefined;

    const { operation, piece } = entry;
    operation.inFlight -= 1;
    if (settled.error === undefined) {
      piece.succeeded?.();
    } else {
      operation.error ??= settled.error;
      operation.exhausted = true;
      operation.next = undefined;
    }
    this.#finishIfOver(operation);
  }

  #finishIfOver(operation: Operation): void {
    if (!operation.exhausted || operation.inFlight > 0) return;
    this.#unfinished.delete(operation);
    if (operation.error === undefined) operation.resolve();
    else operation.reject(this.#faultOf(operation, operation.error));
  }

  /** Sends as much as the window allows. */
  #pump(): void {
    const parts: Uint8Array[] = [];
    while (this.#failure === undefined && !this.#wire.isFull) {
      const taken = this.#takeNext();
      if (taken === undefined) break;
      parts.push(...this.#enter(taken));
    }
    if (parts.length > 0) this.#wire.write(parts);
  }

  /** The next piece that fits into the window. */
  #takeNext(): InFlight | undefined {
    for (let operation = this.#queue[0]; operation !== undefined; operation = this.#queue[0]) {
      if (!operation.exhausted && operation.next === undefined) {
        const cut = operation.pieces.next();
        operation.next = cut.done === true ? undefined : cut.value;
        operation.exhausted = cut.done === true;
      }
      const piece = operation.next;
      if (piece === undefined) {
        this.#queue.shift();
        this.#finishIfOver(operation);
        continue;
      }
      const fits =
        this.#inFlight.size < this.#window.requests &&
        this.#bytesInFlight + payloadBytes(piece) <= this.#window.bytes;
      // A request larger than the whole window travels alone.
      if (!fits && this.#inFlight.size > 0) return undefined;
      operation.next = undefined;
      return { piece, operation };
    }
    return undefined;
  }

  /** Counts the piece as in flight; answers the bytes to send. */
  #enter(entry: InFlight): Uint8Array[] {
    if (this.#inFlight.size === 0) {
      this.#aliveAt = performance.now();
      this.#watch ??= this.#setWatch(this.#requestMilliseconds);
    }
    while (this.#inFlight.has(this.#nextHandle)) this.#nextHandle = (this.#nextHandle + 1) % HANDLES;
    const handle = this.#nextHandle;
    this.#nextHandle = (handle + 1) % HANDLES;
    this.#inFlight.set(handle, entry);
    this.#bytesInFlight += payloadBytes(entry.piece);
    entry.operation.inFlight += 1;
    const message = Buffer.allocUnsafe(REQUEST_BYTES);
    encodeRequest(message, 0, handle, entry.piece.transaction.request);
    return entry.piece.payload === undefined ? [message] : [message, entry.piece.payload];
  }

  /**
   * Only the oldest request is timed. Others may rightly wait behind it on a slow line; but whichever the server has
   * forgotten becomes the oldest, and is found.
   */
  #setWatch(milliseconds: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#watch = undefined;
      const oldest = this.#oldest;
      if (oldest === undefined) return;
      const left = this.#requestMilliseconds - (performance.now() - this.#aliveAt);
      if (left > 0) {
        this.#watch = this.#setWatch(Math.ceil(left));
        return;
      }
      const line = requestLine(oldest.piece.transaction.request);
      this.fail(
        new Fault(`The server made no progress for ${this.#requestMilliseconds} ms: ${line}`, {
          code: 'TimedOut',
        }),
      );
    }, milliseconds).unref();
  }

  get #oldest(): InFlight | undefined {
    return this.#inFlight.values().next().value;
  }

  #faultOf(operation: Operation, cause: Fault): Fault {
    const code = cause.code === undefined ? {} : { code: cause.code };
    return new Fault(`${operation.what} of ${this.#name} failed`, { cause, ...code });
  }
}

/** What a request holds of the window: the bytes that travel because of it. */
function payloadBytes(piece: Piece): number {
  const { command, length } = piece.transaction.request;
  return command === COMMAND.read || command === COMMAND.write ? length : 0;
}

/**
 * The transmission phase of one connection: the machine for replies, the window and the wire put together, and what happens to
 * everybody when the connection fails. The promise kept here: every request ends, by its reply, by the time-out, or with the
 * connection.
 */
import { Fault } from '@backhaul/kernel';
import { InFlight, Operation, type Window } from './in-flight.ts';
import type { Piece } from './pieces.ts';
import { Feed } from './protocol/machine.ts';
import { type Progress, replies, type Settled } from './protocol/replies.ts';
import { encodeDisconnect, encodeRequest, REQUEST_BYTES, requestLine } from './protocol/requests.ts';
import type { Transaction } from './protocol/transactions.ts';
import type { Wire } from './wire.ts';

const GOODBYE_MILLISECONDS = 1000;

export class Connection {
  readonly #wire: Wire;
  readonly #name: string;
  readonly #requestMilliseconds: number;
  readonly #inFlight: InFlight;
  readonly #feed: Feed<never, Settled | Progress>;
  readonly #unfinished = new Set<Operation>();
  #failure: Fault | undefined;
  #watch: NodeJS.Timeout | undefined;
  /** When the oldest request last made progress, or became the oldest. */
  #aliveAt = 0;
  /** The request whose reply is arriving. */
  #receiving: Transaction | undefined;

  /** `name` of the export and endpoint, for faults. The handshake is over. */
  constructor(
    wire: Wire,
    name: string,
    options: { structured: boolean; window: Window; requestMilliseconds: number },
  ) {
    this.#wire = wire;
    this.#name = name;
    this.#requestMilliseconds = options.requestMilliseconds;
    this.#inFlight = new InFlight(options.window, (operation) => this.#over(operation));
    this.#feed = new Feed(replies(this.#inFlight, options.structured), (effect) => {
      if ('settled' in effect) this.#settled(effect);
      else this.#progressed(effect.progress);
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
      const operation = new Operation(what, pieces, { resolve, reject });
      if (this.#failure !== undefined) {
        reject(this.#faultOf(operation, this.#failure));
        return;
      }
      this.#unfinished.add(operation);
      this.#inFlight.enqueue(operation);
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
    // "A client SHOULD wait until there are no inflight requests first": with some, no polite goodbye is possible.
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
    for (const operation of this.#unfinished) operation.reject(this.#faultOf(operation, cause));
    this.#unfinished.clear();
  }

  #accept(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    this.#progressed(this.#receiving);
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

  #progressed(transaction: Transaction | undefined): void {
    this.#receiving = transaction;
    if (transaction !== undefined && transaction === this.#inFlight.oldest) this.#aliveAt = performance.now();
  }

  #settled({ settled, handle }: Settled): void {
    // The next one is the oldest from now on.
    if (settled === this.#inFlight.oldest) this.#aliveAt = performance.now();
    this.#receiving = undefined;
    this.#inFlight.settle(handle);
  }

  #over(operation: Operation): void {
    this.#unfinished.delete(operation);
    if (operation.error === undefined) operation.resolve();
    else operation.reject(this.#faultOf(operation, operation.error));
  }

  /** Sends as much as the window and the socket take, in one go. */
  #pump(): void {
    const parts: Uint8Array[] = [];
    const wasIdle = this.#inFlight.size === 0;
    while (this.#failure === undefined && !this.#wire.isFull) {
      const taken = this.#inFlight.takeNext();
      if (taken === undefined) break;
      const { handle, piece } = taken;
      const message = Buffer.allocUnsafe(REQUEST_BYTES);
      encodeRequest(message, 0, handle, piece.transaction.request);
      parts.push(message);
      if (piece.payload !== undefined) parts.push(piece.payload);
    }
    if (parts.length === 0) return;
    if (wasIdle) this.#aliveAt = performance.now();
    this.#watch ??= this.#setWatch(this.#requestMilliseconds);
    this.#wire.write(parts);
  }

  /**
   * Only the oldest request is timed. Others may rightly wait behind it on a slow line; but whichever the server has
   * forgotten becomes the oldest, and is found.
   */
  #setWatch(milliseconds: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#watch = undefined;
      const { oldest } = this.#inFlight;
      if (oldest === undefined) return;
      const left = this.#requestMilliseconds - (performance.now() - this.#aliveAt);
      if (left > 0) {
        this.#watch = this.#setWatch(Math.ceil(left));
        return;
      }
      const stall = `The server made no progress for ${this.#requestMilliseconds} ms`;
      this.fail(new Fault(`${stall}: ${requestLine(oldest.request)}`, { code: 'TimedOut' }));
    }, milliseconds).unref();
  }

  #faultOf(operation: Operation, cause: Fault): Fault {
    const code = cause.code === undefined ? {} : { code: cause.code };
    return new Fault(`${operation.what} of ${this.#name} failed`, { cause, ...code });
  }
}

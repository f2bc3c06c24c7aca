/**
 * One client: its socket, its session, and what is in flight. Promises kept here:
 * - no more is read from the socket while as many requests or bytes are in flight as may be, and a request is in flight until the system has
 *   taken its reply: a client that does not read costs a bounded amount of memory, whatever it asks for;
 * - a handshake, and a request that was begun, is finished in time or the connection ends; between requests a client may rest for ever;
 * - whatever a client says, it is answered or hung up on, and nobody else is touched.
 */
import type { Socket } from 'node:net';
import { describeError, Fault, invariant } from '@backhaul/kernel';
import type { Send } from '../protocol/machine.ts';
import { Feed } from '../protocol/machine.ts';
import { requestLine } from '../protocol/requests.ts';
import { COMMAND } from '../protocol/values.ts';
import type { NbdExport } from './export.ts';
import type { Agreement } from './haggling.ts';
import { perform } from './perform.ts';
import { ReplyMemory } from './reply-memory.ts';
import type { Asked } from './requests.ts';
import { type Agreed, session } from './session.ts';

export interface ConnectionLimits {
  /** In flight at once: requests, and the bytes that travel because of them, which one request may exceed. */
  readonly requests: number;
  readonly bytes: number;
  readonly handshakeMilliseconds: number;
  /** Without a byte of a request that was begun. */
  readonly stallMilliseconds: number;
  /** For replies that are under way when the connection is to end. */
  readonly goodbyeMilliseconds: number;
}

export class ClientConnection {
  /** Resolves when the socket is closed. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #feed: Feed<void, Send | Agreed | Asked>;
  readonly #limits: ConnectionLimits;
  readonly #log: (line: string) => void;
  readonly #memory: ReplyMemory;
  #agreement: Agreement | undefined;
  /** What the socket gave while no more was taken. */
  #untaken: Uint8Array = new Uint8Array(0);
  #requests = 0;
  #bytes = 0;
  #isEnding = false;
  #watch: NodeJS.Timeout | undefined;

  constructor(
    socket: Socket,
    exports: readonly NbdExport[],
    limits: ConnectionLimits,
    log: (line: string) => void,
  ) {
    this.#socket = socket;
    this.#limits = limits;
    this.#memory = new ReplyMemory(limits.bytes);
    this.#log = log;
    this.#feed = new Feed(session(exports), (effect) => {
      if ('send' in effect) this.#write(effect.send);
      else if ('agreed' in effect) this.#agreement = effect.agreed;
      else this.#perform(effect);
    });
    socket.setNoDelay(true);
    // The close that follows says all there is to say.
    socket.on('error', () => {});
    socket.on('data', (bytes) => this.#accept(bytes));
    // Half open: no request can follow, and what is in flight is still answered.
    socket.on('end', () => this.end());
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#isEnding = true;
        clearTimeout(this.#watch);
        resolve();
      });
    });
    this.#feed.start();
    this.#watch = setTimeout(
      () => this.#hangUp(`the handshake was not finished within ${limits.handshakeMilliseconds} ms`),
      limits.handshakeMilliseconds,
    );
  }

  /** Takes no further requests, answers those in flight, and closes. */
  end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#socket.pause();
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => this.#socket.destroy(), this.#limits.goodbyeMilliseconds);
    if (this.#requests === 0) this.#close();
  }

  #accept(bytes: Uint8Array): void {
    if (this.#isEnding) return;
    if (this.#feed.isHeld) {
      this.#untaken = Buffer.concat([this.#untaken, bytes]);
      return;
    }
    try {
      const taken = this.#feed.accept(bytes);
      if (this.#feed.result !== undefined) {
        this.end();
        return;
      }
      if (this.#feed.isHeld) {
        this.#untaken = bytes.subarray(taken);
        this.#socket.pause();
      }
    } catch (error) {
      // Only Faults: anything else is a bug of ours, and nothing catches those.
      if (!(error instanceof Fault)) throw error;
      this.#hangUp(describeError(error));
      return;
    }
    this.#setWatch();
  }

  /** The handshake has one time for all of it; after that each arrival starts the time anew. */
  #setWatch(): void {
    if (this.#agreement === undefined) return;
    clearTimeout(this.#watch);
    this.#watch = undefined;
    if (this.#feed.isResting || this.#feed.isHeld) return;
    const { stallMilliseconds } = this.#limits;
    const late = `no byte of a request that was begun came for ${stallMilliseconds} ms`;
    this.#watch = setTimeout(() => this.#hangUp(late), stallMilliseconds);
  }

  #perform(ask: Asked): void {
    const agreement = this.#agreement;
    invariant(agreement !== undefined, 'Requests follow the choice of an export');
    const bytes = ask.payload?.length ?? (ask.asked.command === COMMAND.read ? ask.asked.length : 0);
    this.#requests += 1;
    this.#bytes += bytes;
    if (this.#isFull) this.#feed.hold();
    const { take, give } = this.#memory.lend();
    void perform(agreement, ask, take).then(({ reply, failure }) => {
      if (failure !== undefined)
        this.#log(
          `${requestLine(ask.asked)} of export ${agreement.served.name} failed: ${describeError(failure)}`,
        );
      this.#write(reply, () => {
        if (failure === undefined) give();
        this.#requests -= 1;
        this.#bytes -= bytes;
        this.#goOn();
      });
    });
  }

  get #isFull(): boolean {
    return this.#requests >= this.#limits.requests || this.#bytes >= this.#limits.bytes;
  }

  #goOn(): void {
    if (this.#isEnding) {
      if (this.#requests === 0) this.#close();
      return;
    }
    if (!this.#feed.isHeld || this.#isFull) return;
    this.#feed.release();
    const untaken = this.#untaken;
    this.#untaken = new Uint8Array(0);
    this.#accept(untaken);
    if (!this.#feed.isHeld && !this.#isEnding) this.#socket.resume();
  }

  /** One system call for all of it, where the system takes it. `sent` is called when it has, or when the socket is gone. */
  #write(parts: readonly Uint8Array[], sent: () => void = () => {}): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) {
      sent();
      return;
    }
    this.#socket.cork();
    for (const part of parts.slice(0, -1)) this.#socket.write(part);
    this.#socket.write(parts.at(-1) ?? new Uint8Array(0), sent);
    this.#socket.uncork();
  }

  /** Whoever does not keep to the protocol gets no further word. */
  #hangUp(why: string): void {
    this.#log(`A client was hung up on: ${why}`);
    this.#isEnding = true;
    this.#socket.destroy();
  }

  /** Everything was sent. A client that does not close its side in time is left alone. */
  #close(): void {
    this.#socket.end();
    this.#socket.resume();
  }
}

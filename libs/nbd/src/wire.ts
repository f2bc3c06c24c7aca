/**
 * The socket, and nothing of NBD: bytes out, bytes in, closed once. Everything in this package that is not this file or
 * a timer of `connect.ts` or `connection.ts` runs without I/O.
 *
 * How bytes come in, and why so. Reading 1 GiB of random data from qemu-nbd over a Unix socket, on 2 cores that were busy with
 * other work, the CPU spent in this process (user and system, best of six runs):
 *
 *   requests of 256 KiB              0.46 to 0.55 s per GiB
 *   requests of 512 KiB              0.35
 *   requests of 1 MiB                0.34      (but small proxy VMs choke on large requests: hence 512 KiB)
 *   read buffer 64 KiB to 4 MiB      no difference beyond noise: a Unix socket hands out some 200 KiB at a time
 *   straight into the target         0.33      (a fresh `onread` buffer for every read; user time down, system time up)
 *
 * So one reusable `onread` buffer takes what the socket has, and each byte of the disk is copied once, while it is still in the
 * cache, to where it belongs. Reading straight into the target saves at most 5 %, and would leave the system a pointer into
 * memory that its owner may give away to a worker thread the moment a read has failed. What does count is the
 * number of requests: each is a message, a header and a wake-up on either side.
 */
import { connect, type Socket } from 'node:net';
import { Fault } from '@backhaul/kernel';
import { type Endpoint, endpointLine } from './protocol/uri.ts';

/** The most that one read from the socket brings. */
const READ_BUFFER_BYTES = 256 * 1024;

export interface WireListener {
  /** `bytes` are valid during the call only: the buffer is the next read's as well. */
  bytes(bytes: Uint8Array): void;
  /** What was written has left this process: more may be written. */
  drained(): void;
  /** Nothing more will come, from either side. Called once. */
  closed(cause: Error | undefined): void;
}

const NOBODY: WireListener = { bytes() {}, drained() {}, closed() {} };

export class Wire {
  readonly endpoint: Endpoint;
  readonly #socket: Socket;
  readonly #closed: Promise<void>;
  #listener: WireListener = NOBODY;
  #cause: Error | undefined;
  #isClosed = false;

  private constructor(endpoint: Endpoint, readBufferBytes: number) {
    this.endpoint = endpoint;
    const onread = {
      buffer: Buffer.allocUnsafeSlow(readBufferBytes),
      callback: (count: number, buffer: Uint8Array): boolean => {
        this.#listener.bytes(buffer.subarray(0, count));
        return true;
      },
    };
    this.#socket =
      endpoint.kind === 'unix'
        ? connect({ path: endpoint.socketPath, onread })
        : connect({ host: endpoint.host, port: endpoint.port, noDelay: true, keepAlive: true, onread });
    this.#socket.on('error', (error) => {
      this.#cause ??= error;
    });
    this.#socket.on('drain', () => this.#listener.drained());
    this.#closed = new Promise((resolve) => {
      this.#socket.on('close', () => {
        this.#isClosed = true;
        resolve();
        this.#listener.closed(this.#cause);
      });
    });
  }

  /** Resolves when the socket is connected. Throws a Fault that names the endpoint. Not later than `signal`. */
  static async open(
    endpoint: Endpoint,
    signal: AbortSignal,
    readBufferBytes = READ_BUFFER_BYTES,
  ): Promise<Wire> {
    signal.throwIfAborted();
    const wire = new Wire(endpoint, readBufferBytes);
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => wire.destroy();
      signal.addEventListener('abort', abort, { once: true });
      wire.listen({
        ...NOBODY,
        closed(cause) {
          signal.removeEventListener('abort', abort);
          const reason = cause ?? (signal.aborted ? signal.reason : undefined);
          reject(new Fault(`No connection to ${endpointLine(endpoint)} could be made`, { cause: reason }));
        },
      });
      wire.#socket.once('connect', () => {
        signal.removeEventListener('abort', abort);
        wire.listen(NOBODY);
        resolve();
      });
    });
    return wire;
  }

  /** From now on this listener is told, in place of the one before. One that comes after the end is told so at once. */
  listen(listener: WireListener): void {
    this.#listener = listener;
    if (this.#isClosed) listener.closed(this.#cause);
  }

  /** One system call for all of it, where the system takes it. */
  write(parts: readonly Uint8Array[]): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }

  /** True: wait for `drained` before writing more. */
  get isFull(): boolean {
    return this.#socket.writableNeedDrain;
  }

  /** At once; what was not sent yet is lost. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** After what was written has been sent. For a last word; whoever waits for the end has a time-out of its own. */
  destroySoon(): void {
    this.#socket.destroySoon();
  }

  /** Sends what is still to be sent, then closes; a peer that does not close its side in time is left alone. */
  async end(patienceMilliseconds: number): Promise<void> {
    this.#socket.end();
    const impatient = setTimeout(() => this.#socket.destroy(), patienceMilliseconds);
    await this.#closed;
    clearTimeout(impatient);
  }
}

/**
 * How the phases of the protocol are written: as generators that do no I/O. A machine yields what it wants done:
 * `fill` asks for the next bytes of the stream and names the place where they belong, and the machine goes on when that place
 * is full; anything else is an effect (bytes to send, a transaction that is settled) for whoever runs it.
 *
 * So a phase reads from top to bottom in the order of the specification, headers may be split anywhere by the
 * network, and the bytes of a disk are copied once, from the socket's buffer into the buffer of the caller.
 */
import { copyBytes, invariant } from '@backhaul/kernel';

/** The next bytes of the stream belong here. Never empty. */
export interface Fill {
  readonly fill: Uint8Array;
  /** Before the first of them, nothing is owed: the peer may be silent here for as long as it likes. */
  readonly mayRest?: true;
}

/** These bytes go to the peer, in this order. */
export interface Send {
  readonly send: readonly Uint8Array[];
}

/** A machine that may ask for bytes, cause the effects `E`, and ends with `R`. It throws Faults. */
export type Machine<R, E = never> = Generator<Fill | E, R, void>;

/** Takes the next `length` bytes of the stream as a buffer of their own: for headers and short texts. */
export function* take(length: number): Machine<Buffer> {
  const bytes = Buffer.alloc(length);
  if (length > 0) yield { fill: bytes };
  return bytes;
}

/** Runs one machine over a stream of bytes that arrive in pieces of any size. */
export class Feed<R, E extends object = never> {
  readonly #machine: Machine<R, E>;
  readonly #perform: (effect: E) => void;
  #place: Uint8Array | undefined;
  #mayRest = false;
  #isHeld = false;
  #filled = 0;
  #result: { readonly value: R } | undefined;

  constructor(machine: Machine<R, E>, perform: (effect: E) => void) {
    this.#machine = machine;
    this.#perform = perform;
  }

  /** What the machine ended with; undefined while it runs. */
  get result(): { readonly value: R } | undefined {
    return this.#result;
  }

  /** Between two messages, with nothing of the next one here. */
  get isResting(): boolean {
    return this.#mayRest && this.#filled === 0;
  }

  /** Called by `perform`: `accept` takes no further bytes until `release`, so that what waits is bounded. */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Lets the machine go as far as it can without any bytes. Once, before the first `accept`. */
  start(): void {
    this.#advance();
  }

  /** Gives the machine these bytes. Answers how many it took: fewer than there are only when it has ended or is held. */
  accept(bytes: Uint8Array): number {
    let taken = 0;
    while (taken < bytes.length && this.#place !== undefined && !this.#isHeld) {
      const place = this.#place;
      const length = Math.min(place.length - this.#filled, bytes.length - taken);
      copyBytes(place, this.#filled, length === bytes.length ? bytes : bytes.subarray(taken, taken + length));
      taken += length;
      this.#filled += length;
      if (this.#filled === place.length) this.#advance();
    }
    return taken;
  }

  #advance(): void {
    this.#place = undefined;
    this.#filled = 0;
    for (;;) {
      const step = this.#machine.next();
      if (step.done === true) {
        this.#result = { value: step.value };
        return;
      }
      if ('fill' in step.value) {
        invariant(step.value.fill.length > 0, 'A machine must not wait for no bytes');
        this.#place = step.value.fill;
        this.#mayRest = step.value.mayRest === true;
        return;
      }
      this.#perform(step.value);
    }
  }
}

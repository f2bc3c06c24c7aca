/**
 * The messages a consumer has taken and not settled yet. All of them are kept alive with `working()`, so that a message
 * waiting for its turn is not given to somebody else. One that comes again while it is at work (the connection was
 * lost in between) is adopted: the work goes on, and what settles it is the newer copy.
 */
import type { JsMsg } from 'nats';

export class HeldMessages {
  readonly #held = new Map<string, { message: JsMsg; readonly from: string }>();
  readonly #counts = new Map<string, number>();
  readonly #heartbeat: NodeJS.Timeout;
  readonly #emptied: (() => void)[] = [];

  constructor(workingMilliseconds: number) {
    this.#heartbeat = setInterval(() => {
      for (const { message } of this.#held.values()) quietly(() => message.working());
    }, workingMilliseconds);
  }

  get size(): number {
    return this.#held.size;
  }

  /** How many of them came from one consumer. */
  sizeOf(from: string): number {
    return this.#counts.get(from) ?? 0;
  }

  /** False when the message is at work already: the caller has nothing to do. */
  hold(from: string, key: string, message: JsMsg): boolean {
    const known = this.#held.get(key);
    if (known !== undefined) {
      known.message = message;
      return false;
    }
    this.#held.set(key, { message, from });
    this.#counts.set(from, this.sizeOf(from) + 1);
    return true;
  }

  /** Tells the server what became of the message. On a connection that is gone it comes again, which is harmless. */
  settle(key: string, verdict: (message: JsMsg) => void): void {
    const held = this.#held.get(key);
    if (held === undefined) return;
    this.#held.delete(key);
    this.#counts.set(held.from, this.sizeOf(held.from) - 1);
    quietly(() => verdict(held.message));
    if (this.#held.size === 0) for (const wake of this.#emptied.splice(0)) wake();
  }

  /**
   * Says nothing to the server. The message is somebody else's, whose word would be taken from us: the server knows messages by their
   * place in the stream, and an answer counts whoever gives it. When nobody keeps it alive any more it comes again.
   */
  letGo(key: string): void {
    this.settle(key, () => undefined);
  }

  async empty(): Promise<void> {
    if (this.#held.size > 0) await new Promise<void>((resolve) => this.#emptied.push(resolve));
  }

  /** Lets go of what is left: it goes to somebody else when its time is up. */
  close(): void {
    clearInterval(this.#heartbeat);
    this.#held.clear();
  }
}

/** Answering on a connection that has ended throws; the server then delivers again. */
function quietly(answer: () => void): void {
  try {
    answer();
  } catch {
    // The message comes again.
  }
}

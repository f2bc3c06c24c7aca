/**
 * How far the log is published without a gap. Acknowledgements arrive in any order; the checkpoint may only stand where
 * everything before it is stored.
 */
export class AcknowledgedPrefix {
  #position: number;
  readonly #sent: { readonly position: number; done: boolean }[] = [];

  constructor(position: number) {
    this.#position = position;
  }

  /** Everything at or below is acknowledged, or needs no publishing. */
  get position(): number {
    return this.#position;
  }

  get inFlight(): number {
    return this.#sent.length;
  }

  /** Notes that the event at `position` was sent, in ascending order; call the answer when it is acknowledged. */
  sent(position: number): () => void {
    const entry = { position, done: false };
    this.#sent.push(entry);
    return () => {
      entry.done = true;
      this.#advance();
    };
  }

  /** Notes that nothing else up to `position` needs publishing: events of other services stand there. */
  passed(position: number): void {
    this.sent(position)();
  }

  #advance(): void {
    while (this.#sent[0]?.done === true) this.#position = this.#sent.shift()?.position ?? this.#position;
  }
}

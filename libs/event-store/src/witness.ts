/**
 * Whether the log is still the one that this process has read. A database that came back from a backup, or a replica that took over and had not
 * received everything, gives positions out a second time: whoever goes on from a position that he remembers passes over events that were stored
 * since. The newest event there was is the witness, and is asked for again on every new connection, because a log goes back behind one.
 */
import { Fault } from '@backhaul/kernel';

export class LogWentBack extends Fault {
  override readonly name = 'LogWentBack';

  constructor(position: number, eventId: string) {
    super(
      `The log went back: event ${eventId}, which stood at position ${position}, is no longer there. What this process knows is not of this ` +
        `log, so it ends; started again, it knows what the log says. Events were lost: see "The database went back" in docs/operations.md`,
      { permanent: true, code: 'LogWentBack' },
    );
  }
}

export class Witness {
  readonly #eventIdAt: (position: number) => Promise<string | undefined>;
  #position = 0;
  #eventId = '';
  #isDoubted = false;

  constructor(eventIdAt: (position: number) => Promise<string | undefined>) {
    this.#eventIdAt = eventIdAt;
  }

  /** An event that is committed. */
  saw(position: number, eventId: string): void {
    if (position > this.#position) [this.#position, this.#eventId] = [position, eventId];
  }

  /** Something may have changed behind our back: there is a new connection. */
  doubt(): void {
    this.#isDoubted = true;
  }

  /** Throws LogWentBack when what was seen is not there any more. Asks only where there is a doubt. */
  async confirm(highWater: number): Promise<void> {
    const [position, eventId] = [this.#position, this.#eventId];
    if (!this.#isDoubted && highWater >= position) return;
    this.#isDoubted = false;
    try {
      if (position === 0 || (await this.#eventIdAt(position)) === eventId) return;
    } catch (error) {
      this.#isDoubted = true;
      throw error;
    }
    this.#isDoubted = true;
    throw new LogWentBack(position, eventId);
  }
}

/**
 * Which child jobs of a backup have not completed yet, asked at each completion: a backup has a thousand of them, so each question reads only
 * what the log has more than at the last one. What is remembered follows from the log: another process, or this one started again,
 * reads it anew.
 */
import { type EventStore, eventsOfRun } from '@backhaul/event-store';
import { planOf } from './transfer.ts';

/** Of backups under way at once; of one that was forgotten the log is read again. */
const REMEMBERED_MAX = 64;

interface Standing {
  readonly open: Set<string>;
  readonly cursor: { after: number };
}

export class OpenJobs {
  readonly #store: Pick<EventStore, 'readLog' | 'readStream' | 'readStreamPage'>;
  readonly #runs = new Map<string, Standing>();

  constructor(store: Pick<EventStore, 'readLog' | 'readStream' | 'readStreamPage'>) {
    this.#store = store;
  }

  /** Whether none is open in a log read at least up to `upTo`. Throws as `eventsOfRun` does while it cannot be read that far. */
  async allCompleted(backupId: string, upTo: number): Promise<boolean> {
    const standing = this.#runs.get(backupId) ?? (await this.#begin(backupId));
    const completions = eventsOfRun(this.#store, backupId, 'ChildJobCompleted', upTo, standing.cursor);
    for await (const { data } of completions) standing.open.delete(data.childJobId);
    return standing.open.size === 0;
  }

  /** The backup has ended: nobody asks any more. */
  forget(backupId: string): void {
    this.#runs.delete(backupId);
  }

  async #begin(backupId: string): Promise<Standing> {
    const { childJobs } = await planOf(this.#store, backupId);
    const standing = { open: new Set(childJobs.map(({ childJobId }) => childJobId)), cursor: { after: 0 } };
    for (const oldest of this.#runs.keys()) {
      if (this.#runs.size < REMEMBERED_MAX) break;
      this.#runs.delete(oldest);
    }
    this.#runs.set(backupId, standing);
    return standing;
  }
}

/**
 * Appends to the stream of one data stream, each append at the exact version that the one before left. When somebody else has
 * appended this attempt is over: `Superseded` is thrown, now and from then on, and nothing more is appended.
 */
import { randomUUID } from 'node:crypto';
import type { Event, EventMetadata } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import { type ExportJob, evolve, exportJobStream, newExportJob } from './export-job.ts';

export class Superseded extends Fault {
  override readonly name = 'Superseded';
}

export class ExportLog {
  readonly job: ExportJob = newExportJob();
  readonly #store: EventStore;
  readonly #childJobId: string;
  readonly #metadata: EventMetadata;
  /** Two processes that hold the same lease by mistake must never pass for one command sent twice. */
  readonly #run = randomUUID();
  #version = 0;

  private constructor(store: EventStore, childJobId: string, metadata: EventMetadata) {
    this.#store = store;
    this.#childJobId = childJobId;
    this.#metadata = metadata;
  }

  /** With all that was said before. */
  static async open(store: EventStore, childJobId: string, metadata: EventMetadata): Promise<ExportLog> {
    const log = new ExportLog(store, childJobId, metadata);
    for (let more = true; more; ) {
      const page = await store.readStreamPage(exportJobStream(childJobId), log.#version);
      for (const event of page.events) evolve(log.job, event);
      log.#version = page.version;
      more = page.more;
    }
    return log;
  }

  /** One after the other: whoever calls waits for the call before. */
  async append(...events: readonly Event[]): Promise<void> {
    const appended = await this.#store.append(
      [{ stream: exportJobStream(this.#childJobId), expected: this.#version, events }],
      { commandId: `${this.#run} ${this.#version}`, metadata: this.#metadata },
    );
    if (!appended.ok)
      throw new Superseded(
        `Another attempt went on with data stream ${this.#childJobId}: ${appended.refusal.message}`,
      );
    this.#version += events.length;
    for (const event of events) evolve(this.job, event);
  }
}

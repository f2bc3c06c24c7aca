/**
 * Appends what a child job has received, many chunks in one append, each append at the exact version that the one before left.
 * When somebody else has appended to the stream this attempt is over: `Superseded` is thrown, and nothing more is appended.
 */
import { randomUUID } from 'node:crypto';
import type { Event, EventMetadata } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import { type ChildJob, childJobStream, evolve } from './child-job.ts';

const BATCH_EVENTS = 64;
const BATCH_MILLISECONDS = 200;

export class Superseded extends Fault {
  override readonly name = 'Superseded';
}

export class ChunkLog {
  readonly job: ChildJob;
  readonly #store: EventStore;
  readonly #childJobId: string;
  readonly #metadata: EventMetadata;
  /** Two processes that hold the same lease by mistake must never pass for one command sent twice. */
  readonly #run = randomUUID();
  #version: number;
  #pending: Event[] = [];
  #tail: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #broken: unknown;

  constructor(parts: {
    store: EventStore;
    childJobId: string;
    job: ChildJob;
    version: number;
    metadata: EventMetadata;
  }) {
    this.#store = parts.store;
    this.#childJobId = parts.childJobId;
    this.job = parts.job;
    this.#version = parts.version;
    this.#metadata = parts.metadata;
  }

  /** Takes the event; appended with the next batch. Throws when an earlier batch could not be appended. */
  add(event: Event): void {
    if (this.#broken !== undefined) throw this.#broken;
    this.#pending.push(event);
    if (this.#pending.length >= BATCH_EVENTS) void this.flush().catch(() => undefined);
    else this.#timer ??= setTimeout(() => void this.flush().catch(() => undefined), BATCH_MILLISECONDS);
  }

  /** Resolves when everything added before is in the log. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#pending;
    this.#pending = [];
    this.#tail = this.#tail.then(async () => {
      if (this.#broken !== undefined) throw this.#broken;
      if (batch.length > 0) await this.#append(batch);
    });
    this.#tail.catch((error: unknown) => {
      this.#broken = error;
    });
    await this.#tail;
  }

  /** Throws `Superseded` where somebody else has appended, for who has nothing to append himself. A log that cannot be asked says nothing. */
  async requireNewest(): Promise<void> {
    const stream = childJobStream(this.#childJobId);
    const page = await this.#store.readStreamPage(stream, this.#version, 1).catch(() => undefined);
    if (page !== undefined && page.version > this.#version)
      throw new Superseded(`Another attempt went on with child job ${this.#childJobId}`);
  }

  async #append(events: readonly Event[]): Promise<void> {
    const appended = await this.#store.append(
      [{ stream: childJobStream(this.#childJobId), expected: this.#version, events }],
      {
        commandId: `${this.#run} ${this.#version}`,
        metadata: this.#metadata,
      },
    );
    if (!appended.ok) {
      throw new Superseded(
        `Another attempt went on with child job ${this.#childJobId}: ${appended.refusal.message}`,
      );
    }
    this.#version += events.length;
    for (const event of events) evolve(this.job, event);
  }
}

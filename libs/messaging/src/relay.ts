/**
 * Publishes what a service has appended, in the order of the log and as it lies there, so also what a newer release of it has appended that this
 * one does not know: the log is the outbox. At least once, by one instance
 * at a time. After a failed publish everything behind the last gapless position is sent again; JetStream drops what it
 * has seen within five minutes, and inboxes drop the rest.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Service, StoredRecord } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { describeError, Fault, invariant } from '@backhaul/kernel';
import { headers as natsHeaders } from 'nats';
import type pg from 'pg';
import { AcknowledgedPrefix } from './acknowledged-prefix.ts';
import { encodeEvent } from './cloud-event.ts';
import type { Link, Session } from './link.ts';
import type { Log } from './log.ts';
import { Oversized, oversized } from './oversized.ts';
import { moveCheckpoint, type RelayCheckpoint, readCheckpoint, reasonToRefill } from './relay-checkpoint.ts';
import { Semaphore } from './semaphore.ts';
import { EVENTS, streamInfo, subjectAt } from './streams.ts';
import type { Wakeup } from './wakeup.ts';

const IN_FLIGHT_MAX = 128;
const PAGE_EVENTS_MAX = 500;
const POLL_MILLISECONDS = 250;
/** Between two looks at the log while there is always something new: a look costs a barrier, however little it finds. */
const LOOK_MILLISECONDS = 15;
const SAVE_MILLISECONDS = 200;
const PUBLISH_MILLISECONDS_MAX = 5_000;
const RETRY_MILLISECONDS = 250;
/** Between two tries of what somebody has to mend. */
const STUCK_MILLISECONDS = 5_000;

export interface RelayOptions {
  readonly service: Service;
  readonly store: EventStore;
  readonly link: Link;
  readonly log: Log;
  /** Rung by every append of this process. */
  readonly wakeup: Wakeup;
  readonly published: (event: StoredRecord) => void;
  /** Everything up to this position is published, for good. */
  readonly progressed: (position: number) => void;
  /** It cannot go on behind this one until somebody has mended what it says. */
  readonly stuck: (at: Oversized) => void;
}

/** Runs until the signal aborts; `lock` is the connection that makes this process the only one. */
export async function relay(options: RelayOptions, signal: AbortSignal, lock: pg.Client): Promise<void> {
  while (!signal.aborted) {
    try {
      await new Round(options, signal, lock).run();
    } catch (error) {
      if (signal.aborted) return;
      const isStuck = error instanceof Oversized;
      if (isStuck) {
        options.log.error({ error: error.message }, 'relay is stuck at an event that NATS does not carry');
        options.stuck(error);
      } else options.log.warn({ error: describeError(error) }, 'relay starts again from its checkpoint');
      const milliseconds = isStuck ? STUCK_MILLISECONDS : RETRY_MILLISECONDS;
      await pause(milliseconds, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** One life of the relay: from the checkpoint until the session ends or something fails. */
class Round {
  readonly #options: RelayOptions;
  readonly #signal: AbortSignal;
  readonly #lock: pg.Client;
  readonly #window = new Semaphore(IN_FLIGHT_MAX);
  #saved: RelayCheckpoint = { position: 0, streamCreated: null, streamSequence: 0 };
  #savedAt = 0;
  #streamCreated = '';
  #lastSequence = 0;
  #prefix = new AcknowledgedPrefix(0);
  #failure: unknown;

  constructor(options: RelayOptions, signal: AbortSignal, lock: pg.Client) {
    [this.#options, this.#signal, this.#lock] = [options, signal, lock];
  }

  async run(): Promise<void> {
    const { store, link, wakeup } = this.#options;
    const session = await link.session(this.#signal);
    await this.#begin(session);
    let cursor = this.#prefix.position;
    while (!this.#signal.aborted) {
      const rung = wakeup.next();
      const lookedAt = Date.now();
      const page = await store.readOwnLog(cursor, { limit: PAGE_EVENTS_MAX });
      for (const event of page.records) await this.#publish(session, event);
      this.#assertGoing(session);
      if (page.next > cursor) this.#prefix.passed(page.next);
      cursor = page.next;
      await this.#save();
      if (cursor < page.highWater) continue;
      if (this.#prefix.inFlight === 0) await this.#save('now');
      await rung.within(POLL_MILLISECONDS, this.#signal);
      const early = lookedAt + LOOK_MILLISECONDS - Date.now();
      if (early > 0) await pause(early, undefined, { signal: this.#signal }).catch(() => undefined);
    }
  }

  /** Where to publish from: behind the checkpoint, or from the start when the stream has lost what it held. */
  async #begin(session: Session): Promise<void> {
    const { service, log } = this.#options;
    const checkpoint = await readCheckpoint(this.#lock, service);
    const info = await streamInfo(session, EVENTS);
    if (info === undefined) throw new Fault(`The stream ${EVENTS} is gone`);
    const created = String(info.created);
    const subjectThere = await subjectAt(session, EVENTS, checkpoint.streamSequence);
    const reason = reasonToRefill(checkpoint, { created, subjectThere }, service);
    if (reason !== undefined) log.warn({ reason }, 'NATS lost events, publishing all of them again');
    this.#streamCreated = created;
    this.#lastSequence = reason === undefined ? checkpoint.streamSequence : 0;
    this.#prefix = new AcknowledgedPrefix(reason === undefined ? checkpoint.position : 0);
    this.#saved = await moveCheckpoint(this.#lock, service, checkpoint, this.#standing());
  }

  async #publish(session: Session, event: StoredRecord): Promise<void> {
    await this.#window.acquire();
    this.#assertGoing(session);
    const { subject, headers, body } = encodeEvent(this.#options.service, event);
    const carried = natsHeaders();
    for (const [name, value] of Object.entries(headers)) carried.set(name, value);
    carried.set('Nats-Msg-Id', event.eventId);
    carried.set('Nats-Expected-Stream', EVENTS);
    const bytesMax = session.connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
    const stuck = oversized(event, carried, body, bytesMax);
    if (stuck !== undefined) {
      await this.#keepWhatIsBefore(session);
      throw stuck;
    }
    const acknowledge = this.#prefix.sent(event.position);
    session.jetstream
      .publish(subject, body, { headers: carried, timeout: PUBLISH_MILLISECONDS_MAX })
      .then((stored) => {
        this.#lastSequence = Math.max(this.#lastSequence, stored.seq);
        acknowledge();
        this.#options.published(event);
      })
      .catch((cause: unknown) => {
        this.#failure ??= new Fault(`Publishing ${event.type} at position ${event.position} failed`, {
          cause,
        });
      })
      .finally(() => {
        this.#window.release();
        // The last one of a burst, or a failed one: the loop is not to sleep over it.
        if (this.#prefix.inFlight === 0 || this.#failure !== undefined) this.#options.wakeup.ring();
      });
  }

  /** What is before an event that cannot be sent is not to be sent again at every try. */
  async #keepWhatIsBefore(session: Session): Promise<void> {
    for (;;) {
      const ring = this.#options.wakeup.next();
      this.#assertGoing(session);
      if (this.#prefix.inFlight === 0 || this.#signal.aborted) break;
      await ring.within(POLL_MILLISECONDS, this.#signal);
    }
    await this.#save('now');
  }

  #assertGoing(session: Session): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (session.ended.aborted) throw new Fault('The connection to NATS was lost while publishing');
  }

  /** Keeps how far it has come, at most a few times a second unless it must be now. */
  async #save(when: 'soon' | 'now' = 'soon'): Promise<void> {
    if (when === 'soon' && Date.now() - this.#savedAt < SAVE_MILLISECONDS) return;
    const { service } = this.#options;
    const standing = this.#standing();
    invariant(standing.position >= this.#saved.position, `The relay of ${service} went back by itself`);
    if (standing.position > this.#saved.position) {
      this.#saved = await moveCheckpoint(this.#lock, service, this.#saved, standing);
    } else if ((await readCheckpoint(this.#lock, service)).position !== this.#saved.position) {
      throw new Fault(`A refill of ${service} was asked for`);
    }
    this.#savedAt = Date.now();
    this.#options.progressed(this.#saved.position);
  }

  #standing(): RelayCheckpoint {
    return {
      position: this.#prefix.position,
      streamCreated: this.#streamCreated,
      streamSequence: this.#lastSequence,
    };
  }
}

/**
 * From the durable consumers of one purpose to its handler, and back to the server with what became of each message.
 * The promise: a message is acknowledged only after its handler has resolved, and is never dropped: it is handled, tried
 * again, or kept as a dead letter. Consumers that are gone (NATS was wiped) are made anew.
 */
import { AssertionError } from 'node:assert';
import { setTimeout as pause } from 'node:timers/promises';
import { describeError, isPermanent, withDeadline } from '@backhaul/kernel';
import type { ConsumerMessages, JsMsg } from 'nats';
import { Batches, type BatchesOptions } from './batches.ts';
import type { Delivery } from './delivery.ts';
import { type Durable, durableInfo, ensureDurable, recreateDurable } from './durables.ts';
import { Failures } from './failures.ts';
import type { Outcome } from './handlers.ts';
import { HeldMessages } from './held-messages.ts';
import { headersOf, identityOf } from './identity.ts';
import type { Link, Session } from './link.ts';
import type { Log } from './log.ts';
import type { Consumption } from './messaging.ts';
import type { Observer } from './occurrence.ts';
import { isDatabaseAway, isNotItsOwn, judge, type RetryPolicy } from './retry.ts';
import { streamInfo } from './streams.ts';
import { Wakeup } from './wakeup.ts';
import { Watchdog } from './watchdog.ts';

/**
 * What a process held that was killed goes to another this long after its last sign of life. One that only stood still for as long
 * is overtaken, and two are at the same message: handlers in a transaction take effect once, and the one at long work that finds itself
 * overtaken lets go of the message and says nothing of it. Work may be done twice then; so it is no shorter.
 */
export const ACK_WAIT_MILLISECONDS = 5_000;
/** Two signs of life may be late or lost. */
const WORKING_MILLISECONDS = 1_500;
const FETCH_MILLISECONDS = 5_000;
const RETRY_MILLISECONDS = 500;
/** How long room may gather before the next fetch, so that it is not asked for one message at a time. */
const LINGER_MILLISECONDS = 5;
/**
 * A bug that shows itself again and again in one message must not keep the process from ever working. Only deliveries survive a crash, and
 * so those that no process is known to have survived are taken for crashes.
 */
const CRASHES_MAX = 5;

export interface ConsumptionOptions {
  readonly link: Link;
  readonly log: Log;
  readonly observe: Observer;
  readonly retry: RetryPolicy;
  readonly silentMilliseconds: number;
  /** `<service>__<purpose>`. */
  readonly consumer: string;
  readonly durables: readonly Durable[];
  /** Messages of one durable that are taken and not settled, those waiting for their turn included. */
  readonly heldMax: number;
  readonly batching: Omit<BatchesOptions<Delivery>, 'run'>;
  /** The outcome of each, in their order. Rejects when none of them was handled. */
  handle(batch: readonly Delivery[], stopping: AbortSignal): Promise<readonly Outcome[]>;
  keepDeadLetter(delivery: Delivery, error: unknown): Promise<void>;
  /** An assertion failed: the process is to end and start again from its events. */
  onBug(error: AssertionError): void;
}

/** Resolves when the durable consumers stand: from then on nothing that is published is missed. */
export async function startConsumption(options: ConsumptionOptions): Promise<Consumption> {
  await ensureAll(options);
  const consumption = new RunningConsumption(options);
  consumption.start();
  return consumption;
}

/** Waits for NATS as long as it takes; only what waiting cannot mend is thrown. */
async function ensureAll({ link, durables, log, consumer }: ConsumptionOptions): Promise<void> {
  for (;;) {
    try {
      const session = await link.session();
      for (const durable of durables) await ensureDurable(session, durable);
      return;
    } catch (error) {
      if (isPermanent(error)) throw error;
      log.warn({ consumer, error: describeError(error) }, 'consumers cannot be made yet, trying again');
      await pause(RETRY_MILLISECONDS);
    }
  }
}

interface Taken {
  readonly key: string;
  readonly delivery: Delivery;
}

class RunningConsumption implements Consumption {
  readonly #options: ConsumptionOptions;
  readonly #stopping = new AbortController();
  readonly #held = new HeldMessages(WORKING_MILLISECONDS);
  readonly #batches: Batches<Taken>;
  readonly #room = new Wakeup();
  readonly #failures: Failures;
  readonly #fetches = new Set<ConsumerMessages>();
  #pulling: Promise<void>[] = [];

  constructor(options: ConsumptionOptions) {
    this.#options = options;
    this.#failures = new Failures(
      options.durables.reduce((sum, { ackPendingMax }) => sum + ackPendingMax, 0),
    );
    this.#batches = new Batches({
      ...options.batching,
      laneOf: ({ delivery }) => options.batching.laneOf(delivery),
      run: (batch) => this.#process(batch),
    });
  }

  start(): void {
    this.#pulling = this.#options.durables.map((durable) => this.#pull(durable));
  }

  async stop(milliseconds = 30_000): Promise<void> {
    const { consumer, log } = this.#options;
    this.#stopping.abort();
    this.#closeFetches();
    try {
      await withDeadline(`Stopping the consumer ${consumer}`, milliseconds, async () => {
        await Promise.all(this.#pulling);
        await this.#held.empty();
      });
    } catch (error) {
      log.warn(
        { consumer, open: this.#held.size, error: describeError(error) },
        'handlers did not end in time',
      );
    } finally {
      this.#held.close();
    }
  }

  async #pull(durable: Durable): Promise<void> {
    const { link, log } = this.#options;
    const stopping = this.#stopping.signal;
    while (!stopping.aborted) {
      try {
        await this.#pullFrom(await link.session(stopping), durable);
      } catch (error) {
        if (stopping.aborted) return;
        log.warn(
          { consumer: durable.name, error: describeError(error) },
          'consumer was interrupted, going on',
        );
        await pause(RETRY_MILLISECONDS, undefined, { signal: stopping }).catch(() => undefined);
      }
    }
  }

  async #pullFrom(session: Session, durable: Durable): Promise<void> {
    await ensureDurable(session, durable);
    const created = String((await streamInfo(session, durable.stream))?.created);
    const consumer = await session.jetstream.consumers.get(durable.stream, durable.name);
    const watchdog = new Watchdog(this.#options.silentMilliseconds, durable.ackPendingMax);
    while (!this.#stopping.signal.aborted && !session.ended.aborted) {
      const fetched = await consumer.fetch({
        max_messages: await this.#awaitRoom(durable),
        expires: FETCH_MILLISECONDS,
      });
      this.#fetches.add(fetched);
      const close = (): void => void fetched.close();
      session.ended.addEventListener('abort', close);
      if (this.#stopping.signal.aborted || session.ended.aborted) close();
      let taken = 0;
      try {
        for await (const message of fetched) {
          taken += 1;
          this.#take(message, durable, created);
        }
      } finally {
        this.#fetches.delete(fetched);
        session.ended.removeEventListener('abort', close);
      }
      const error = await fetched.closed();
      if (error instanceof Error) throw error;
      if (taken === 0) await this.#watch(session, durable, watchdog);
    }
  }

  /** How many messages may be fetched. Room that has just come about is given a moment to grow. */
  async #awaitRoom({ name }: Durable): Promise<number> {
    const { heldMax } = this.#options;
    const stopping = this.#stopping.signal;
    const room = (): number => heldMax - this.#held.sizeOf(name);
    for (;;) {
      const ring = this.#room.next();
      if (room() > 0 || stopping.aborted) break;
      await ring.within(1_000, stopping);
    }
    if (room() <= heldMax / 2)
      await pause(LINGER_MILLISECONDS, undefined, { signal: stopping }).catch(() => undefined);
    return Math.max(1, room());
  }

  async #watch(session: Session, durable: Durable, watchdog: Watchdog): Promise<void> {
    if (this.#stopping.signal.aborted || session.ended.aborted) return;
    const info = await durableInfo(session, durable);
    if (info === undefined) return await ensureDurable(session, durable);
    const sample = {
      pending: info.num_pending,
      outstanding: info.num_ack_pending,
      delivered: info.delivered.consumer_seq,
    };
    if (!watchdog.isStuck(sample, Date.now())) return;
    this.#options.log.warn(
      { consumer: durable.name, ...sample },
      'consumer delivers nothing, making it anew',
    );
    await recreateDurable(session, durable);
  }

  #take(message: JsMsg, durable: Durable, streamCreated: string): void {
    const place = { stream: durable.stream, created: streamCreated, sequence: message.seq };
    const encoded = { subject: message.subject, headers: headersOf(message), body: message.data };
    const identity = identityOf(place, encoded);
    const delivery: Delivery = { ...encoded, identity, attempt: message.info.deliveryCount };
    const key = `${durable.name} ${identity.inboxKey}`;
    if (this.#held.hold(durable.name, key, message)) this.#batches.add({ key, delivery });
  }

  #closeFetches(): void {
    for (const fetched of this.#fetches) void fetched.close();
  }

  #settle(key: string, answer: (message: JsMsg) => void): void {
    this.#held.settle(key, answer);
    this.#room.ring();
  }

  /** For good: nothing of it need be remembered. */
  #done(key: string, answer: (message: JsMsg) => void): void {
    this.#failures.forget(key);
    this.#settle(key, answer);
  }

  #letGo(key: string): void {
    this.#held.letGo(key);
    this.#room.ring();
  }

  /** Never rejects: whatever happens becomes an answer to the server, or is left to whoever else is at it. */
  async #process(batch: readonly Taken[]): Promise<void> {
    const stopping = this.#stopping.signal;
    if (stopping.aborted) {
      for (const { key } of batch) this.#settle(key, (message) => message.nak());
      return;
    }
    const { consumer, observe } = this.#options;
    let alone: readonly Taken[] = [];
    try {
      const outcomes = await this.#options.handle(
        batch.map(({ delivery }) => delivery),
        stopping,
      );
      for (const [index, { key }] of batch.entries()) {
        const kind = outcomes[index] ?? 'alone';
        if (kind === 'alone') continue;
        if (kind === 'let-go') this.#letGo(key);
        else this.#done(key, (message) => message.ack());
        observe({ kind, consumer });
      }
      alone = batch.filter((_, index) => (outcomes[index] ?? 'alone') === 'alone');
    } catch (error) {
      // Of many the one at fault is not known, unless it is none of them.
      if (batch.length > 1 && !isDatabaseAway(error)) alone = batch;
      else for (const each of batch) await this.#failed(each, error);
    }
    for (const each of alone) await this.#process([each]);
  }

  async #failed({ key, delivery }: Taken, error: unknown): Promise<void> {
    const { consumer, log, observe, retry } = this.#options;
    const settle = (answer: (message: JsMsg) => void): void => this.#settle(key, answer);
    const { messageId } = delivery.identity;
    const fields = { consumer, subject: delivery.subject, messageId, attempt: delivery.attempt };
    const isOwn = !this.#stopping.signal.aborted && !isNotItsOwn(error);
    const { failures, survivedFrom } = this.#failures.note(key, delivery.attempt, isOwn);
    if (error instanceof AssertionError && survivedFrom < CRASHES_MAX) return this.#options.onBug(error);
    const tried = { deliveries: delivery.attempt, failures };
    const verdict = error instanceof AssertionError ? 'dead-letter' : judge(error, tried, retry);
    if (verdict !== 'dead-letter') {
      observe({ kind: 'failed', consumer });
      // A service that stops does not wait: another instance may do at once what this one was interrupted at.
      const delay = this.#stopping.signal.aborted ? 0 : verdict.retryAfterMilliseconds;
      log.warn({ ...fields, delay, error: describeError(error) }, 'handling failed, trying again');
      return settle((message) => message.nak(delay));
    }
    try {
      await this.#options.keepDeadLetter(delivery, error);
      observe({ kind: 'dead-lettered', consumer });
      log.error({ ...fields, error: describeError(error) }, 'message kept as a dead letter');
      this.#done(key, (message) => message.term());
    } catch (cause) {
      log.warn({ ...fields, error: describeError(cause) }, 'dead letter cannot be kept now, trying again');
      settle((message) => message.nak(retry.delayMillisecondsMax));
    }
  }
}

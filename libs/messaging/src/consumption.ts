/**
 * From the durable consumers of one purpose to its handler, and back to the server with what became of each message.
 * The promise: a message is acknowledged only after its handler has resolved, and is never dropped: it is handled, tried
 * again, or kept as a dead letter. Consumers that are gone (NATS was wiped) are made anew.
 */
import { AssertionError } from 'node:assert';
import { setTimeout as pause } from 'node:timers/promises';
import { describeError, isPermanent, withDeadline } from '@backhaul/kernel';
import type { ConsumerMessages, JsMsg } from 'nats';
import type { Delivery } from './delivery.ts';
import { type Durable, durableInfo, ensureDurable, recreateDurable } from './durables.ts';
import { HeldMessages } from './held-messages.ts';
import { headersOf, identityOf } from './identity.ts';
import { Lanes } from './lanes.ts';
import type { Link, Session } from './link.ts';
import type { Log } from './log.ts';
import type { Consumption } from './messaging.ts';
import type { Observer } from './occurrence.ts';
import { judge, type RetryPolicy } from './retry.ts';
import { streamInfo } from './streams.ts';
import { Wakeup } from './wakeup.ts';
import { Watchdog } from './watchdog.ts';

export const ACK_WAIT_MILLISECONDS = 10_000;
const WORKING_MILLISECONDS = 3_000;
const FETCH_MILLISECONDS = 5_000;
const RETRY_MILLISECONDS = 500;
/** A bug that shows itself again and again in one message must not keep the process from ever working. */
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
  /** Handlers at work at once. */
  readonly width: number;
  /** Messages taken and not settled, those waiting for their turn included. */
  readonly heldMax: number;
  /** Messages of one lane are handled in the order in which they came. */
  laneOf(delivery: Delivery): string;
  handle(delivery: Delivery, stopping: AbortSignal): Promise<'handled' | 'skipped'>;
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

class RunningConsumption implements Consumption {
  readonly #options: ConsumptionOptions;
  readonly #stopping = new AbortController();
  readonly #held = new HeldMessages(WORKING_MILLISECONDS);
  readonly #lanes: Lanes;
  readonly #room = new Wakeup();
  readonly #fetches = new Set<ConsumerMessages>();
  #pulling: Promise<void>[] = [];

  constructor(options: ConsumptionOptions) {
    this.#options = options;
    this.#lanes = new Lanes(options.width);
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
        max_messages: await this.#awaitRoom(),
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

  async #awaitRoom(): Promise<number> {
    const { heldMax } = this.#options;
    for (;;) {
      const ring = this.#room.next();
      if (this.#held.size < heldMax || this.#stopping.signal.aborted)
        return Math.max(1, heldMax - this.#held.size);
      await ring.within(1_000, this.#stopping.signal);
    }
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
    const headers = headersOf(message);
    const identity = identityOf(durable.stream, streamCreated, message.seq, headers);
    const delivery: Delivery = {
      subject: message.subject,
      headers,
      body: message.data,
      identity,
      attempt: message.info.deliveryCount,
    };
    const key = `${durable.name} ${identity.inboxKey}`;
    if (!this.#held.hold(key, message)) return;
    // Elsewhere there may be room: what another fetch of this purpose would still get is better off there.
    if (this.#held.size >= this.#options.heldMax) this.#closeFetches();
    void this.#lanes.run(this.#options.laneOf(delivery), () => this.#process(key, delivery));
  }

  #closeFetches(): void {
    for (const fetched of this.#fetches) void fetched.close();
  }

  /** Never rejects: whatever happens becomes an answer to the server. */
  async #process(key: string, delivery: Delivery): Promise<void> {
    const settle = (answer: (message: JsMsg) => void): void => {
      this.#held.settle(key, answer);
      this.#room.ring();
    };
    const stopping = this.#stopping.signal;
    if (stopping.aborted) return settle((message) => message.nak());
    const { consumer, observe } = this.#options;
    try {
      const kind = await this.#options.handle(delivery, stopping);
      settle((message) => message.ack());
      observe({ kind, consumer });
    } catch (error) {
      await this.#failed(delivery, error, settle);
    }
  }

  async #failed(
    delivery: Delivery,
    error: unknown,
    settle: (answer: (message: JsMsg) => void) => void,
  ): Promise<void> {
    const { consumer, log, observe, retry } = this.#options;
    const { messageId } = delivery.identity;
    const fields = { consumer, subject: delivery.subject, messageId, attempt: delivery.attempt };
    if (error instanceof AssertionError && delivery.attempt < CRASHES_MAX) return this.#options.onBug(error);
    const verdict = error instanceof AssertionError ? 'dead-letter' : judge(error, delivery.attempt, retry);
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
      settle((message) => message.term());
    } catch (cause) {
      log.warn({ ...fields, error: describeError(cause) }, 'dead letter cannot be kept now, trying again');
      settle((message) => message.nak(retry.delayMillisecondsMax));
    }
  }
}

/** Puts the parts together into the `Messaging` of one service. */
import { Answer, answerSubject, RequestId, type Service } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { describeError, Fault, invariant } from '@backhaul/kernel';
import { ACK_WAIT_MILLISECONDS, type ConsumptionOptions, startConsumption } from './consumption.ts';
import { keepDeadLetter, redriveDeadLetter } from './dead-letters.ts';
import type { Delivery } from './delivery.ts';
import type { Durable } from './durables.ts';
import { asWork, eventOf, transactionally } from './handlers.ts';
import { type Link, openLink } from './link.ts';
import type { Log } from './log.ts';
import type { Consumption, Messaging } from './messaging.ts';
import type { Observer } from './occurrence.ts';
import { startRelay } from './owned-relay.ts';
import { requesterOn } from './requester.ts';
import { defaultRetryPolicy, type RetryPolicy } from './retry.ts';
import { EVENTS, ensureStreams, REQUESTS } from './streams.ts';
import { eventFilter, requestFilter } from './subjects.ts';

export interface MessagingOptions {
  /** One or more NATS URLs, separated by commas. */
  readonly url: string;
  readonly service: Service;
  readonly store: EventStore;
  /** The service's own login: the relay holds its lock on a connection of its own. */
  readonly postgresUrl: string;
  readonly log: Log;
  readonly observe?: Observer;
  /** Copies of each message in a NATS cluster. */
  readonly replicas?: number;
  readonly retry?: RetryPolicy;
  /** After how long without a delivery a consumer with waiting messages is made anew. */
  readonly silentMilliseconds?: number;
  /** Called when a handler failed an assertion. By default the error is thrown outside everything, which ends the process. */
  readonly onBug?: (error: Error) => void;
}

/** Messages that wait here while one is handled: enough to keep a handler busy, few enough to be shared. */
const HELD_PER_HANDLER = 16;
const ACK_PENDING_MAX = 256;

/** Resolves at once, also with NATS away: `health` says so, and what needs the connection waits for it. */
export async function connectMessaging(options: MessagingOptions): Promise<Messaging> {
  const { service, store, log, observe = () => undefined } = options;
  const link = openLink({
    url: options.url,
    name: `backhaul ${service}`,
    log,
    prepare: (session) => ensureStreams(session, { replicas: options.replicas ?? 1 }),
  });
  const relay = startRelay({ service, postgresUrl: options.postgresUrl, store, link, log, observe });
  const consumptions = new Set<Consumption>();
  const answer = (given: Answer): void => publishAnswer(link, log, given);

  const start = async (
    purpose: string,
    given: Pick<ConsumptionOptions, 'durables' | 'width' | 'heldMax' | 'laneOf' | 'handle'>,
    around: {
      before?: (delivery: Delivery, error: unknown) => Promise<void>;
      after?: (delivery: Delivery, error: unknown) => void;
    } = {},
  ): Promise<Consumption> => {
    const consumer = `${service}__${purpose}`;
    const started = await startConsumption({
      ...given,
      consumer,
      link,
      log,
      observe,
      retry: options.retry ?? defaultRetryPolicy,
      silentMilliseconds: options.silentMilliseconds ?? 60_000,
      async keepDeadLetter(delivery, error) {
        await around.before?.(delivery, error);
        await keepDeadLetter(store, consumer, delivery, describeError(error));
        around.after?.(delivery, error);
      },
      onBug: options.onBug ?? throwOutside,
    });
    const consumption: Consumption = {
      async stop(milliseconds) {
        consumptions.delete(consumption);
        await started.stop(milliseconds);
      },
    };
    consumptions.add(consumption);
    return consumption;
  };

  const eventDurables = (purpose: string, types: readonly Parameters<typeof eventFilter>[0][]): Durable[] => {
    invariant(
      /^[A-Za-z0-9-]+$/.test(purpose),
      `A purpose is part of a consumer's name: "${purpose}" cannot be one`,
    );
    return types.map((type) => durable(EVENTS, `${service}__${purpose}__${type}`, eventFilter(type)));
  };

  return {
    ...requesterOn(link),
    answer,

    consume({ purpose, types, concurrency = 1, handle }) {
      return start(purpose, {
        durables: eventDurables(purpose, types),
        width: concurrency * types.length,
        heldMax: HELD_PER_HANDLER * concurrency * types.length,
        // One lane per type keeps the order of the log; with room for more, one per stream.
        laneOf: ({ subject, headers }) =>
          concurrency === 1 ? subject.slice(subject.lastIndexOf('.')) : (headers['ce-subject'] ?? ''),
        handle: async (delivery) => {
          const event = eventOf<(typeof types)[number]>(delivery);
          if (event === undefined) return 'skipped';
          const consumer = `${service}__${purpose}`;
          return await transactionally(store, consumer, delivery, (transaction) =>
            handle(event, transaction),
          );
        },
      });
    },

    consumeWork({ purpose, types, concurrency, handle, givenUp }) {
      const work = {
        durables: eventDurables(purpose, types),
        width: concurrency,
        heldMax: concurrency,
        laneOf: (delivery) => delivery.identity.inboxKey,
        handle: async (delivery, signal) => {
          const event = eventOf<(typeof types)[number]>(delivery);
          if (event === undefined) return 'skipped';
          return await asWork(store, `${service}__${purpose}`, delivery, () => handle(event, signal));
        },
      } satisfies Parameters<typeof start>[1];
      return start(purpose, work, {
        async before(delivery, error) {
          const event = givenUp === undefined ? undefined : eventOf<(typeof types)[number]>(delivery);
          if (event !== undefined) await givenUp?.(event, error);
        },
      });
    },

    consumeRequests({ concurrency = 1, handle }) {
      const purpose = 'requests';
      return start(
        purpose,
        {
          durables: [durable(REQUESTS, `${service}__${purpose}`, requestFilter(service))],
          width: concurrency,
          heldMax: HELD_PER_HANDLER * concurrency,
          laneOf: ({ identity }) => (concurrency === 1 ? '' : identity.inboxKey),
          handle: async (delivery) => {
            const name = delivery.subject.slice(delivery.subject.lastIndexOf('.') + 1);
            let given: Answer | undefined;
            const outcome = await transactionally(
              store,
              `${service}__${purpose}`,
              delivery,
              async (transaction) => {
                const { messageId } = delivery.identity;
                given = await handle({ name, body: delivery.body, messageId }, transaction);
              },
            );
            if (outcome === 'handled' && given !== undefined) answer(given);
            return outcome;
          },
        },
        {
          after(delivery, error) {
            const requestId = requestIdOf(delivery.body);
            if (requestId === undefined) return;
            const code = error instanceof Fault && error.code !== undefined ? error.code : 'RequestFailed';
            answer({ requestId, outcome: 'refused', refusal: { code, message: describeError(error) } });
          },
        },
      );
    },

    redrive: (deadLetterId) => redriveDeadLetter(store, link, deadLetterId),
    refill: () => relay.refill(),

    async health() {
      return {
        nats: { ok: link.current() !== undefined, detail: link.state() },
        relay: await relay.health(),
      };
    },

    async stopConsuming(milliseconds) {
      await Promise.all([...consumptions].map((consumption) => consumption.stop(milliseconds)));
    },

    async close(milliseconds = 5_000) {
      await Promise.all([...consumptions].map((consumption) => consumption.stop(milliseconds)));
      await relay.stop(milliseconds);
      await link.close();
    },
  };
}

const durable = (stream: Durable['stream'], name: string, filter: string): Durable => ({
  stream,
  name,
  filter,
  ackPendingMax: ACK_PENDING_MAX,
  ackWaitMilliseconds: ACK_WAIT_MILLISECONDS,
});

function publishAnswer(link: Link, log: Log, answer: Answer): void {
  const session = link.current();
  if (!RequestId.safeParse(answer.requestId).success || session === undefined) {
    log.debug({ requestId: answer.requestId }, 'an answer could not be sent');
    return;
  }
  session.connection.publish(answerSubject(answer.requestId), JSON.stringify(Answer.parse(answer)));
}

function requestIdOf(body: Uint8Array): string | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    const { requestId } = parsed as { requestId?: unknown };
    return RequestId.safeParse(requestId).data;
  } catch {
    return undefined;
  }
}

function throwOutside(error: Error): void {
  queueMicrotask(() => {
    throw error;
  });
}

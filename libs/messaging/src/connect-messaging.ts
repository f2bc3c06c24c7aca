/** Puts the parts together into the `Messaging` of one service. */
import type { Answer, EventType, Recorded, Service } from '@backhaul/contracts';
import type { EventStore } from '@backhaul/event-store';
import { describeError, invariant } from '@backhaul/kernel';
import { ACK_WAIT_MILLISECONDS, type ConsumptionOptions, startConsumption } from './consumption.ts';
import { keepDeadLetter, redriveDeadLetter } from './dead-letters.ts';
import type { Delivery } from './delivery.ts';
import type { Durable } from './durables.ts';
import { eventOf, type Outcome, oneTransaction, workOf } from './handlers.ts';
import { rememberEach } from './inbox.ts';
import { openLink } from './link.ts';
import type { Log } from './log.ts';
import type { Consumption, Messaging } from './messaging.ts';
import type { Observer } from './occurrence.ts';
import { startRelay } from './owned-relay.ts';
import { requesterOn } from './requester.ts';
import { publishAnswer, refusedFor, requestsOf } from './requests.ts';
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
/** And no more, of one consumer: half of what may be out at once, so that a second instance has work, too. */
const HELD_MAX = 128;
const ACK_PENDING_MAX = 256;
/** The purpose that every service has that has any: to send its own dead letters again. */
const REDRIVE = 'redrive';

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
    given: Pick<ConsumptionOptions, 'durables' | 'heldMax' | 'batching' | 'handle'>,
    around: {
      before?: (delivery: Delivery, error: unknown) => Promise<void>;
      after?: (delivery: Delivery, error: unknown) => void;
    } = {},
  ): Promise<Consumption> => {
    if (purpose !== REDRIVE) await followRedrives();
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

  let redrives: Promise<Consumption> | undefined;
  const followRedrives = (): Promise<Consumption> => {
    redrives ??= messaging.consumeWork({
      purpose: REDRIVE,
      types: ['DeadLetterRedriven'],
      concurrency: 1,
      async handle(event, signal) {
        if (event.data.consumer.startsWith(`${service}__`))
          await redriveDeadLetter(store, link, event, signal);
      },
    });
    return redrives;
  };

  const messaging: Messaging = {
    ...requesterOn(link),
    answer,

    consume({ purpose, types, concurrency = 1, handle }) {
      const consumer = `${service}__${purpose}`;
      type Type = (typeof types)[number];
      return start(purpose, {
        durables: eventDurables(purpose, types),
        heldMax: Math.min(HELD_MAX, HELD_PER_HANDLER * concurrency),
        // One lane per type keeps the order of the log; with room for more, one per stream, and several streams per transaction.
        batching:
          concurrency === 1
            ? { sizeMax: 1, atOnce: types.length, oneOfEachLane: true, laneOf: typeIn }
            : { sizeMax: concurrency, atOnce: 1, oneOfEachLane: true, laneOf: streamIn },
        handle: (batch) =>
          knownOf<Type>(batch, (known) =>
            oneTransaction(store, consumer, [...known.keys()], (delivery, transaction) =>
              handle(known.get(delivery) as Recorded<Type>, transaction),
            ),
          ),
      });
    },

    consumeBatches({ purpose, types, batchMax = HELD_MAX, handle }) {
      const consumer = `${service}__${purpose}`;
      type Type = (typeof types)[number];
      return start(purpose, {
        durables: eventDurables(purpose, types),
        heldMax: batchMax,
        batching: { sizeMax: batchMax, atOnce: 1, oneOfEachLane: false, laneOf: () => '' },
        handle: (batch) =>
          knownOf<Type>(batch, async (known) => {
            const keys = new Map([...known].map(([{ identity }, event]) => [event, identity.inboxKey]));
            const keyOf = (event: Recorded<Type>): string => keys.get(event) ?? '';
            const handled = new Set<string>();
            await handle([...known.values()], async (events, work) => {
              const fresh = await store.transaction(async (transaction) => {
                const toDo = await rememberEach(transaction, consumer, events.map(keyOf));
                await work(
                  events.filter((event) => toDo.has(keyOf(event))),
                  transaction,
                );
                return toDo;
              });
              for (const key of fresh) handled.add(key);
            });
            return [...keys.values()].map((key) => (handled.has(key) ? 'handled' : 'skipped'));
          }),
      });
    },

    consumeWork({ purpose, types, concurrency, handle, givenUp }) {
      const asWork = workOf(store, `${service}__${purpose}`);
      const work = {
        durables: eventDurables(purpose, types),
        heldMax: concurrency,
        batching: {
          sizeMax: 1,
          atOnce: concurrency,
          oneOfEachLane: true,
          laneOf: ({ identity }) => identity.inboxKey,
        },
        handle: ([delivery], signal) => {
          invariant(delivery !== undefined, 'A batch has a message');
          const event = eventOf<(typeof types)[number]>(delivery);
          if (event === undefined) return Promise.resolve(['skipped']);
          return asWork(delivery, () => handle(event, signal)).then((outcome) => [outcome]);
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
          heldMax: Math.min(HELD_MAX, HELD_PER_HANDLER * concurrency),
          batching: {
            sizeMax: concurrency,
            atOnce: 1,
            oneOfEachLane: true,
            laneOf: ({ identity }) => identity.inboxKey,
          },
          handle: requestsOf(store, `${service}__${purpose}`, handle, answer),
        },
        {
          after(delivery, error) {
            for (const refused of refusedFor(delivery, error)) answer(refused);
          },
        },
      );
    },

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
  return messaging;
}

const typeIn = ({ subject }: Delivery): string => subject.slice(subject.lastIndexOf('.'));
const streamIn = ({ headers }: Delivery): string => headers['ce-subject'] ?? '';

/** The events of a batch that this release knows, for `handle`; the others are passed over. */
async function knownOf<T extends EventType>(
  batch: readonly Delivery[],
  handle: (known: ReadonlyMap<Delivery, Recorded<T>>) => Promise<readonly Outcome[]>,
): Promise<readonly Outcome[]> {
  const known = new Map<Delivery, Recorded<T>>();
  for (const delivery of batch) {
    const event = eventOf<T>(delivery);
    if (event !== undefined) known.set(delivery, event);
  }
  if (known.size === 0) return batch.map(() => 'skipped');
  const outcomes = await handle(known);
  const ofKnown = new Map([...known.keys()].map((delivery, index) => [delivery, outcomes[index]]));
  return batch.map((delivery) => ofKnown.get(delivery) ?? 'skipped');
}

const durable = (stream: Durable['stream'], name: string, filter: string): Durable => ({
  stream,
  name,
  filter,
  ackPendingMax: ACK_PENDING_MAX,
  ackWaitMilliseconds: ACK_WAIT_MILLISECONDS,
});

function throwOutside(error: Error): void {
  queueMicrotask(() => {
    throw error;
  });
}

/**
 * What a service may rely on between services. Postgres is the truth; NATS carries the news and can be refilled.
 * - Every event of the categories a service owns is published, in order, at least once, under
 *   `evt.<service>.<category>.<id>.<Type>`, as a CloudEvent in binary mode.
 * - A transactional handler takes effect exactly once: its inbox row, what it appended and the acknowledgement stand or
 *   fall together. A handler of long work may run more than once and must be idempotent by its stream's state.
 * - A message that can never work is kept as a dead letter, with the reason. Whoever consumes also follows `DeadLetterRedriven`, and
 *   sends letters of its own to itself again, once.
 */
import type { Answer, EventType, Recorded, RequestName } from '@backhaul/contracts';
import type { EventTransaction } from '@backhaul/event-store';

export interface Consumption {
  /** Gives up new messages, waits for the handlers at work (at most `milliseconds`), then lets go. */
  stop(milliseconds?: number): Promise<void>;
}

export interface Health {
  readonly ok: boolean;
  readonly detail: string;
}

export interface IncomingRequest {
  /** The last token of the subject, known or not. */
  readonly name: string;
  readonly body: Uint8Array;
  /** Stable over redelivery: the `Nats-Msg-Id`, or the stream's sequence where the sender gave none. Which ids there are: identity.ts. */
  readonly messageId: string;
}

/** What upstream systems can do, and services too. */
export interface Requester {
  /**
   * Publishes a request and waits until JetStream has stored it. `messageId`: of this sending, by default a new one. The same within
   * 5 minutes is stored once, whatever it says: a request id will not do, for a request may be repeated or corrected.
   */
  request(name: RequestName, body: unknown, messageId?: string): Promise<void>;

  /** Waits for the answer to a request; subscribe before sending. Undefined at the end of the wait. */
  awaitAnswer(requestId: string, milliseconds: number): { readonly answer: Promise<Answer | undefined> };
}

/**
 * How work ended that neither failed nor was cut off. `overtaken`: the same message was given to somebody else meanwhile, who goes on with
 * the same work. It is not noted as done and not answered: should the other one fail, it comes again.
 */
export type WorkEnd = 'overtaken' | undefined;

export type Once<T extends EventType> = (
  events: readonly Recorded<T>[],
  work: (fresh: readonly Recorded<T>[], transaction: EventTransaction) => Promise<void>,
) => Promise<void>;

export interface Messaging extends Requester {
  /**
   * One durable consumer per type, `<service>__<purpose>__<Type>`, in the order of the log per type. The handler runs
   * inside a transaction that already holds the inbox row; it appends as its last statement. A permanent Fault sends the message
   * to the dead letters; anything else thrown is tried again with backoff (so later events may overtake it), and at once when
   * it is a Fault with code `VersionConflict`. With a `concurrency` above 1 events of different streams are handled
   * side by side, up to so many in one transaction, which handlers do not notice; those of one stream stay in order.
   */
  consume<T extends EventType>(options: {
    purpose: string;
    types: readonly T[];
    concurrency?: number;
    handle(event: Recorded<T>, transaction: EventTransaction): Promise<void>;
  }): Promise<Consumption>;

  /**
   * Like `consume` with a concurrency of 1, for handlers that append to the same stream again and again: what waits is handed over
   * together, in the order of the log per type. Whatever is done about events is done in `once`, a transaction that holds their
   * inbox rows and hands on those that were not handled before. When a batch fails its events are handled one by one.
   */
  consumeBatches<T extends EventType>(options: {
    purpose: string;
    types: readonly T[];
    batchMax?: number;
    handle(events: readonly Recorded<T>[], once: Once<T>): Promise<void>;
  }): Promise<Consumption>;

  /**
   * Long work: acknowledged when the handler has resolved, kept alive with `working()` until then, redelivered to anyone when
   * the process died. Up to `concurrency` at a time. `signal` aborts when the service stops: what rejects then goes to
   * another instance. What resolved once is not handed out again, also when NATS is refilled, unless it resolved as `overtaken`.
   */
  consumeWork<T extends EventType>(options: {
    purpose: string;
    types: readonly T[];
    concurrency: number;
    handle(event: Recorded<T>, signal: AbortSignal): Promise<void> | Promise<WorkEnd>;
    /**
     * Before the message becomes a dead letter: says in the log what became of the work, so that nobody waits for it. Runs
     * again when it fails, or when the process dies here.
     */
    givenUp?(event: Recorded<T>, error: unknown): Promise<void>;
  }): Promise<Consumption>;

  /**
   * Requests from upstream (`req.<service>.>`), with the same once-only transaction as `consume`. The answers are sent after
   * the commit, in their order. A request that was handled and comes again is handed over again, in a transaction that is rolled back, and what
   * that answers is sent: so the handler's answers must follow from the log. One that ends as a dead letter is answered `refused`,
   * with the reason.
   */
  consumeRequests(options: {
    concurrency?: number;
    handle(request: IncomingRequest, transaction: EventTransaction): Promise<readonly Answer[]>;
  }): Promise<Consumption>;

  /** Tells whoever listens on `ans.<requestId>`. At most once: the log, not the answer, is the truth. */
  answer(answer: Answer): void;

  /** Publishes everything this service has ever appended again. Consumers skip what they have handled. */
  refill(): Promise<void>;

  /** For readiness: connected, streams as they should be, relay not behind by more than it should. */
  health(): Promise<{
    readonly nats: Health;
    /** `behindMilliseconds`: the age of the oldest event that is appended and not published. */
    readonly relay: Health & { readonly behindMilliseconds: number };
  }>;

  /** Stops every consumption, all at once. The first half of `close`, for whoever must do something in between. */
  stopConsuming(milliseconds?: number): Promise<void>;

  /** Stops what consumes, publishes what is appended and not published yet (at most `milliseconds`), disconnects. */
  close(milliseconds?: number): Promise<void>;
}

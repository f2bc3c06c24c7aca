/**
 * Several handlers in one transaction, each as if it had one of its own. What they read and what they append travels together:
 * a batch of messages costs the round trips of one. A handler that fails, or is in another's way, takes nothing with it: it
 * is told apart from the others, and has appended nothing.
 */
import type {
  AppendContext,
  EventTransaction,
  StreamAfter,
  StreamAppend,
  StreamPage,
} from '@backhaul/event-store';
import { Fault } from '@backhaul/kernel';
import { gathering } from './gathering.ts';

type AppendResult = Awaited<ReturnType<EventTransaction['append']>>;

interface Append {
  readonly appends: readonly StreamAppend[];
  readonly context: AppendContext;
  resolve(result: AppendResult): void;
  reject(error: unknown): void;
}

/** What one handler has of the transaction. */
interface Place {
  readonly transaction: EventTransaction;
  readonly listeners: readonly (() => void)[];
  /** This handler, of those that are in here. What its transaction answers to `hasAppended` is true as soon as any of them has. */
  hasStored(): boolean;
}

/** One handler that waits for something else keeps the others waiting for so long, and no longer. */
const PATIENCE_MILLISECONDS = 2_000;

/** The outcome of each handler, in their order. Rejects when the transaction itself has failed. */
export async function together<Input>(
  transaction: EventTransaction,
  inputs: readonly Input[],
  handle: (input: Input, transaction: EventTransaction) => Promise<void>,
): Promise<PromiseSettledResult<void>[]> {
  const shared = new SharedTransaction(transaction, inputs.length);
  let behindItsAppend: unknown;
  const outcomes = await Promise.all(
    inputs.map(async (input): Promise<PromiseSettledResult<void>> => {
      const place = shared.place();
      try {
        await handle(input, place.transaction);
        for (const listener of place.listeners) transaction.onCommitted(listener);
        return { status: 'fulfilled', value: undefined };
      } catch (reason) {
        if (place.hasStored()) behindItsAppend ??= reason;
        return { status: 'rejected', reason };
      } finally {
        shared.leave();
      }
    }),
  );
  // What it has appended cannot be told from what the others have: nothing of all this may stay.
  if (behindItsAppend !== undefined) throw behindItsAppend;
  return outcomes;
}

class SharedTransaction {
  readonly #transaction: EventTransaction;
  readonly #readPage: (asked: StreamAfter) => Promise<StreamPage>;
  #present: number;
  #waiting: Append[] = [];
  #patience: NodeJS.Timeout | undefined;
  #sent = false;

  constructor(transaction: EventTransaction, present: number) {
    this.#transaction = transaction;
    this.#present = present;
    this.#readPage = gathering((asked) => transaction.readStreamPages(asked));
  }

  place(): Place {
    const real = this.#transaction;
    const listeners: (() => void)[] = [];
    let hasStored = false;
    const hasSent = (): boolean => this.#sent;
    const readStreamPage: EventTransaction['readStreamPage'] = (stream, after = 0, limit) =>
      limit === undefined ? this.#readPage({ stream, after }) : real.readStreamPage(stream, after, limit);
    const append: EventTransaction['append'] = async (appends, context) => {
      const result = await this.#append(appends, context);
      if (result.ok && !result.value.duplicate) hasStored = true;
      return result;
    };
    return {
      listeners,
      hasStored: () => hasStored,
      transaction: {
        client: real.client,
        get kysely() {
          return real.kysely;
        },
        get hasAppended() {
          return hasSent();
        },
        readStream: (stream, after) => real.readStream(stream, after),
        readStreamPage,
        readStreamPages: (streams) => real.readStreamPages(streams),
        append,
        async appendEach(commands) {
          const results: AppendResult[] = [];
          for (const { appends, context } of commands) results.push(await append(appends, context));
          return results;
        },
        onCommitted: (listener) => {
          listeners.push(listener);
        },
      },
    };
  }

  /** A handler has ended. */
  leave(): void {
    this.#present -= 1;
    this.#sendWhenAllAreHere();
  }

  #append(appends: readonly StreamAppend[], context: AppendContext): Promise<AppendResult> {
    // Behind an append no other may follow: who was in somebody's way decides anew, alone.
    if (this.#sent) return Promise.reject(inTheWay());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ appends, context, resolve, reject });
      this.#patience ??= setTimeout(() => this.#giveUp(), PATIENCE_MILLISECONDS);
      this.#sendWhenAllAreHere();
    });
  }

  #sendWhenAllAreHere(): void {
    if (this.#waiting.length === 0 || this.#waiting.length < this.#present) return;
    clearTimeout(this.#patience);
    this.#sent = true;
    const round: Append[] = [];
    const named = new Set<string>();
    for (const waiting of this.#waiting.splice(0)) {
      const names = [`command ${waiting.context.commandId}`, ...waiting.appends.map(({ stream }) => stream)];
      if (names.some((name) => named.has(name))) {
        waiting.reject(inTheWay());
        continue;
      }
      for (const name of names) named.add(name);
      round.push(waiting);
    }
    this.#transaction.appendEach(round).then(
      (results) => {
        for (const [index, each] of round.entries()) each.resolve(results[index] as AppendResult);
      },
      (error: unknown) => {
        for (const each of round) each.reject(error);
      },
    );
  }

  #giveUp(): void {
    this.#sent = true;
    const fault = new Fault(
      `A handler kept others of its transaction waiting for ${PATIENCE_MILLISECONDS} ms`,
    );
    for (const { reject } of this.#waiting.splice(0)) reject(fault);
  }
}

const inTheWay = (): Fault =>
  new Fault('Another handler of the same transaction has this stream', { code: 'VersionConflict' });
